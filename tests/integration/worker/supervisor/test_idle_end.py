"""A worker with TUNERY_IDLE_SECONDS ends once it has had nothing to do for so long."""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from core.jobs import lifecycle
from core.settings import Settings
from core.tables import Job
from tests.fixtures.faults.database import broken_once
from tests.fixtures.processes.tasks import WarmTasks, variables_of
from tests.fixtures.service.api import Api, Tenant, wait_for
from worker.supervisor.idle_end import IdleEnd
from worker.supervisor.supervisor import Supervisor

SECONDS = 0.3


class Trainers:
    """Starts a process that does nothing in the place of a trainer, and knows its owner."""

    owner = ""

    def __call__(self, _: Settings, owner: str, channel: socket.socket) -> "subprocess.Popen[bytes]":
        self.owner = owner
        return subprocess.Popen(["cat"], stdin=channel.fileno(), start_new_session=True)


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


def test_a_worker_ends_once_it_has_been_idle_for_so_long_and_not_while_a_job_waits_or_trains(
    api: Api, alice: Tenant, supervisor: Supervisor, trainers: Trainers
) -> None:
    ends = Ends()
    idle_end = IdleEnd(SECONDS, api.sessions, supervisor, [], ends)
    job_id = alice.create_job()["id"]
    ends.stay_away(idle_end)
    lease = api.claim(job_id, owner=trainers.owner)
    ends.stay_away(idle_end)
    with api.sessions.begin() as session:
        lifecycle.release(session, lease, "Not wanted any more")
        lifecycle.cancel(session, session.get_one(Job, job_id))
    began = time.monotonic()
    wait_for(lambda: idle_end.look() or ends)
    assert ends[0] - began >= SECONDS


def test_the_job_of_another_worker_keeps_none_from_ending(
    api: Api, alice: Tenant, supervisor: Supervisor
) -> None:
    api.claim(alice.create_job()["id"], owner="another")
    ends = Ends()
    idle_end = IdleEnd(SECONDS, api.sessions, supervisor, [], ends)
    wait_for(lambda: idle_end.look() or ends)


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


def test_a_database_that_is_away_does_not_count_as_nothing_to_do(api: Api, supervisor: Supervisor) -> None:
    ends = Ends()
    idle_end = IdleEnd(SECONDS, api.sessions, supervisor, [], ends)
    idle_end.look()
    time.sleep(SECONDS)
    with broken_once(api, "SELECT claims"), pytest.raises(OperationalError):
        idle_end.look()
    idle_end.look()
    assert not ends
