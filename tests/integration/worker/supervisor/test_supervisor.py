"""The supervisor: it goes on whatever happens to its trainer."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from core.database import create_database, session_factory
from core.jobs import lifecycle
from core.settings import Settings
from core.tables import Claim, Job, Worker
from tests.fixtures.faults.database import ChangingSessions
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.workers import add_worker
from worker.process.exit_statuses import DEVICE_BROKEN
from worker.supervisor.losses import describe_exit
from worker.supervisor.supervisor import Supervisor


class Trainers:
    """Starts a script in the place of the trainer, and knows the latest one's process and owner."""

    process: subprocess.Popen[bytes]
    owner: str

    def __init__(self, folder: Path, script: str) -> None:
        self.lives = folder / "lives"
        self._script = ["sh", "-c", script.format(lives=self.lives)]

    def __call__(self, _: Settings, owner: str, channel: socket.socket) -> subprocess.Popen[bytes]:
        self.owner = owner
        self.process = subprocess.Popen(self._script, stdin=channel.fileno(), start_new_session=True)
        return self.process


class UnreadyTrainers(Trainers):
    """Cannot start a trainer at first."""

    fails = True

    def __call__(self, settings: Settings, owner: str, channel: socket.socket) -> subprocess.Popen[bytes]:
        if self.fails:
            self.fails = False
            raise FileNotFoundError
        return super().__call__(settings, owner, channel)


def test_a_trainer_that_cannot_be_started_is_tried_again(api: Api, tmp_path: Path) -> None:
    trainers = UnreadyTrainers(tmp_path, TRAINER_THAT_HANGS)
    with capture_logs() as logs, supervised(api, trainers):
        wait_for(trainers.lives.exists)
    assert any(entry["event"] == "supervision_failed" for entry in logs)


TRAINER_THAT_WAITS = """
while :; do echo waiting >&0; echo life >> "{lives}"; sleep 0.1; done
"""
TRAINER_THAT_HANGS = """
echo life >> "{lives}"
exec cat
"""


@contextmanager
def supervised(api: Api, trainers: Trainers, sessions: Any = None, **options: Any) -> Iterator[None]:
    """Supervise scripts in place of the trainer. They take no job."""
    settings = api.settings.model_copy(update={"scan_seconds": 0.1})
    supervisor = Supervisor(settings, sessions or api.sessions, trainers, stuck_seconds=2.0, **options)
    supervisor.start()
    try:
        yield
    finally:
        supervisor.stop()


@pytest.mark.parametrize(
    ("script", "stuck"), [(TRAINER_THAT_WAITS, False), (TRAINER_THAT_HANGS, True)], ids=["waits", "hangs"]
)
def test_a_trainer_is_stuck_unless_it_says_that_it_waits(
    api: Api, alice: Tenant, tmp_path: Path, script: str, stuck: bool
) -> None:
    job_id = alice.create_job()["id"]
    trainers = Trainers(tmp_path, script)
    lives = trainers.lives
    with capture_logs() as logs:
        with supervised(api, trainers):
            # The waiting trainer has waited much longer than a trainer may hang; the hanging one was replaced
            wait_for(lambda: lives.exists() and len(lives.read_text().split()) >= (2 if stuck else 40), 240)
        killed = [entry for entry in logs if entry["event"] == "trainer_stuck"]
    assert bool(killed) == stuck
    alice.openai.fine_tuning.jobs.cancel(job_id)


TRAINER_THAT_COUNTS_AND_DIES = """
touch "{lives}.db"
echo life >> "{lives}"
exit 1
"""


def test_what_a_dead_trainer_has_counted_is_gone_before_the_next_one_starts(api: Api, tmp_path: Path) -> None:
    trainers = Trainers(tmp_path, TRAINER_THAT_COUNTS_AND_DIES)
    with supervised(api, trainers, metrics=tmp_path):
        wait_for(trainers.lives.exists)
        wait_for(lambda: not list(tmp_path.glob("*.db")))


TRAINER_THAT_WILL_NOT_STOP = """
trap '' TERM
touch "{lives}"
while :; do sleep 0.1; done
"""
TRAINER_THAT_DIES_OF_ITS_STOP = """
trap 'exit 1' TERM
touch "{lives}"
while :; do sleep 0.1; done
"""


@pytest.mark.parametrize(
    "script", [TRAINER_THAT_WILL_NOT_STOP, TRAINER_THAT_DIES_OF_ITS_STOP], ids=["will not", "dies"]
)
def test_what_a_stopped_trainer_did_not_give_back_is_released_without_blame(
    api: Api, alice: Tenant, tmp_path: Path, script: str
) -> None:
    job_id = alice.create_job()["id"]
    trainers = Trainers(tmp_path, script)
    with supervised(api, trainers, stop_seconds=1.0):
        wait_for(trainers.lives.exists)
        with api.sessions.begin() as session:
            assert lifecycle.claim(session, trainers.owner, 60)
    with api.sessions() as session:
        job, claim = session.get_one(Job, job_id), session.get_one(Claim, (job_id, 1))
    assert (job.status, job.lost_attempts, claim.outcome) == ("queued", 0, "released")
    alice.openai.fine_tuning.jobs.cancel(job_id)


@pytest.mark.parametrize("away", [True, False], ids=["away", "there"])
def test_a_lease_that_ends_while_the_database_is_away_counts_no_loss(
    api: Api, alice: Tenant, tmp_path: Path, closed_port: int, away: bool
) -> None:
    job_id = alice.create_job()["id"]
    nowhere = session_factory(create_database(f"postgresql://nobody@127.0.0.1:{closed_port}/none"))
    sessions = ChangingSessions(nowhere if away else api.sessions)
    with capture_logs() as logs, supervised(api, Trainers(tmp_path, TRAINER_THAT_WAITS), sessions):
        wait_for(lambda: not away or any(entry["event"] == "scan_failed" for entry in logs))
        with api.sessions.begin() as session:
            lease = lifecycle.claim(session, "a trainer that cannot renew", 0.0)
            assert lease is not None
            assert lease.job_id == job_id
        sessions.now = api.sessions
        wait_for(lambda: alice.job(job_id)["status"] == "queued")
    with api.sessions() as session:
        job, claim = session.get_one(Job, job_id), session.get_one(Claim, (job_id, 1))
    assert (job.lost_attempts, claim.outcome) == ((0, "released") if away else (1, "lost"))
    alice.openai.fine_tuning.jobs.cancel(job_id)


def test_lost_jobs_are_requeued_while_records_of_requests_cannot_be_removed(
    api: Api, alice: Tenant, tmp_path: Path
) -> None:
    job_id = alice.create_job()["id"]
    with api.sessions() as locking:
        locking.execute(text("LOCK TABLE idempotency_records"))
        with api.sessions.begin() as session:
            lease = lifecycle.claim(session, "a trainer that cannot renew", 0.0)
            assert lease is not None
            assert lease.job_id == job_id
        with supervised(api, Trainers(tmp_path, TRAINER_THAT_WAITS)):
            # Less than the 15 s after which the database frees the table
            wait_for(lambda: status_of(api, job_id) == "queued", 10)
    alice.openai.fine_tuning.jobs.cancel(job_id)


def status_of(api: Api, job_id: str) -> str:
    with api.sessions() as session:
        return session.get_one(Job, job_id).status


def test_a_trainer_that_has_died_is_not_listed_any_more(api: Api, tmp_path: Path) -> None:
    trainers = Trainers(tmp_path, TRAINER_THAT_HANGS)
    with supervised(api, trainers):
        wait_for(trainers.lives.exists)
        owner = trainers.owner
        add_worker(api, owner)
        trainers.process.kill()
        wait_for(lambda: not listed(api, owner))


def listed(api: Api, owner: str) -> bool:
    with api.sessions() as session:
        return session.get(Worker, owner) is not None


def test_a_broken_device_is_named_as_the_trainers_death() -> None:
    assert describe_exit(DEVICE_BROKEN).sentence == "The trainer's device failed"
