"""A worker with TUNERY_IDLE_SECONDS ends once it has had nothing to do for so long."""

import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, func, update
from sqlalchemy.exc import OperationalError

from core.jobs import lifecycle
from core.jobs.lifecycle import Lease
from core.settings import Settings
from core.tables import Job, Task, WebhookDelivery
from tests.fixtures.faults.database import broken_once
from tests.fixtures.processes.tasks import WarmTasks, variables_of
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.work.deliveries import due_delivery
from worker.supervisor.idle_end import IdleEnd
from worker.supervisor.supervisor import Supervisor
from worker.tasks.frame.service import Tasks

SECONDS = 0.3


class Trainers:
    """Starts a process that does nothing in the place of a trainer, and knows its owner."""

    owner = ""

    def __call__(self, _: Settings, owner: str, channel: socket.socket) -> "subprocess.Popen[bytes]":
        self.owner = owner
        return subprocess.Popen(["cat"], stdin=channel.fileno(), start_new_session=True)


@pytest.fixture(autouse=True)
def _nothing_is_left(api: Api) -> Iterator[None]:
    yield
    with api.sessions.begin() as session:
        session.execute(delete(WebhookDelivery))
        is_open = Task.finished_at.is_(None)
        session.execute(update(Task).where(is_open).values(status="cancelled", finished_at=func.now()))


@pytest.fixture
def trainers() -> Trainers:
    return Trainers()


@pytest.fixture
def supervisor(api: Api, trainers: Trainers) -> Iterator[Supervisor]:
    supervisor = Supervisor(api.settings, api.sessions, trainers)
    supervisor.start()
    wait_for(lambda: trainers.owner)
    yield supervisor
    supervisor.stop()


class Ends(list[float]):
    """The times at which a worker was told to end."""

    def __call__(self) -> None:
        self.append(time.monotonic())

    def stay_away(self, idle_end: IdleEnd) -> None:
        """Look for longer than it takes to end an idle worker."""
        began = time.monotonic()
        while time.monotonic() < began + 2 * SECONDS:
            idle_end.look()
        assert not self


def give_up(api: Api, lease: Lease) -> None:
    """Let nobody train a claimed job any more."""
    with api.sessions.begin() as session:
        lifecycle.release(session, lease, "Not wanted any more")
        lifecycle.cancel(session, session.get_one(Job, lease.job_id))


def test_a_worker_ends_once_it_has_been_idle_for_so_long_and_not_while_a_job_waits_or_trains(
    api: Api, alice: Tenant, supervisor: Supervisor, trainers: Trainers
) -> None:
    ends = Ends()
    idle_end = IdleEnd(SECONDS, api.sessions, supervisor, [], ends)
    job_id = alice.create_job()["id"]
    ends.stay_away(idle_end)
    lease = api.claim(job_id, owner=trainers.owner)
    ends.stay_away(idle_end)
    give_up(api, lease)
    began = time.monotonic()
    wait_for(lambda: idle_end.look() or ends)
    assert ends[0] - began >= SECONDS


def test_the_job_of_another_worker_keeps_none_from_ending(
    api: Api, alice: Tenant, supervisor: Supervisor
) -> None:
    lease = api.claim(alice.create_job()["id"], owner="another")
    ends = Ends()
    idle_end = IdleEnd(SECONDS, api.sessions, supervisor, [], ends)
    wait_for(lambda: idle_end.look() or ends)
    give_up(api, lease)


def test_a_process_that_does_a_task_keeps_its_worker(
    api: Api, alice: Tenant, supervisor: Supervisor, tmp_path: Path
) -> None:
    ends = Ends()
    with WarmTasks(api.sessions, ["check"], variables_of(api.settings, home=tmp_path)) as tasks:
        idle_end = IdleEnd(0, api.sessions, supervisor, [tasks], ends)
        alice.http.post(f"/v1/files/{alice.upload()}/check", json={}).raise_for_status()
        wait_for(lambda: tasks.has_work)
        idle_end.look()
        assert not ends
        wait_for(lambda: idle_end.look() or ends)
        assert not tasks.has_work


def test_a_task_that_waits_keeps_a_worker_that_may_do_it_and_no_other(
    api: Api, alice: Tenant, supervisor: Supervisor
) -> None:
    alice.http.post(f"/v1/files/{alice.upload()}/check", json={}).raise_for_status()
    ends = Ends()
    able, unable = Tasks(api.sessions, 1, ["check"]), Tasks(api.sessions, 0, ["check"])
    ends.stay_away(IdleEnd(SECONDS, api.sessions, supervisor, [able], ends))
    idle_end = IdleEnd(SECONDS, api.sessions, supervisor, [unable], ends)
    wait_for(lambda: idle_end.look() or ends)


def test_a_webhook_that_is_due_keeps_a_worker(api: Api, alice: Tenant, supervisor: Supervisor) -> None:
    due_delivery(api.sessions, alice.project_id)
    ends = Ends()
    idle_end = IdleEnd(SECONDS, api.sessions, supervisor, [], ends)
    ends.stay_away(idle_end)
    with api.sessions.begin() as session:
        session.execute(update(WebhookDelivery).values(next_attempt_at=func.now() + timedelta(hours=1)))
    wait_for(lambda: idle_end.look() or ends)


def test_a_database_that_is_away_does_not_count_as_nothing_to_do(api: Api, supervisor: Supervisor) -> None:
    ends = Ends()
    idle_end = IdleEnd(SECONDS, api.sessions, supervisor, [], ends)
    idle_end.look()
    time.sleep(SECONDS)
    with broken_once(api, "SELECT runs"), pytest.raises(OperationalError):
        idle_end.look()
    idle_end.look()
    assert not ends
