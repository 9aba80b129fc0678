"""A worker with nothing to do waits for no lock of the database, whoever holds it."""

import threading
from collections.abc import Iterator

import pytest
from psycopg import Connection
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from core.database import create_database, session_factory
from core.jobs import queue
from core.work import client
from core.work import lease as leases
from core.work.kinds import KINDS
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.trainer import new_process_group
from worker.grading.grading_thread import GradingThread
from worker.tasks.frame.service import Tasks
from worker.tasks.frame.waiting import WaitingTasks
from worker.trainer.train.claims import Claims
from worker.trainer.train.server_probe import ServerProbe

ALONE = next(kind.name for kind in KINDS.values() if kind.one_of_project)


@pytest.fixture
def hasty(database_url: str) -> Iterator[sessionmaker[Session]]:
    """Yield sessions that wait for a lock for half a second, and then fail."""
    engine = create_database(database_url)

    def hurry(connection: "Connection[tuple[object, ...]]", _record: object) -> None:
        connection.execute("SET lock_timeout = '500ms'")
        connection.commit()

    event.listen(engine, "connect", hurry)
    yield session_factory(engine)
    engine.dispose()


@pytest.fixture
def claims(api: Api, hasty: sessionmaker[Session]) -> Claims:
    """Return the claims of a trainer without jobs, whose store is known to work."""
    probe = ServerProbe(api.store, pause=0.1)
    wait_for(probe.allow_a_job)
    group = new_process_group(api.settings)
    grading = GradingThread(api.settings, hasty)
    return Claims(
        api.settings, hasty, api.store, "a trainer", group, probe, threading.Event(), grading, lambda: None
    )


def fails(claims: Claims) -> bool:
    """Let the trainer take no job. Return whether the database gave it no answer."""
    with capture_logs() as logs:
        assert claims.take_next([]) is None
    return any(entry["event"] == "claim_failed" for entry in logs)


def test_a_trainer_waits_for_no_other_claim_while_no_job_waits(
    api: Api, alice: Tenant, claims: Claims
) -> None:
    with api.sessions() as claiming:
        queue.wait_for_other_claims(claiming)
        assert not fails(claims)
        job_id = alice.create_job()["id"]
        assert fails(claims), "it waits for the others once it would claim a job"
    alice.openai.fine_tuning.jobs.cancel(job_id)


def test_after_an_error_a_trainer_waits_for_the_others_once_and_then_no_more(
    api: Api, alice: Tenant, claims: Claims
) -> None:
    job_id = alice.create_job()["id"]
    with api.sessions() as claiming:
        queue.wait_for_other_claims(claiming)
        assert fails(claims)
        alice.openai.fine_tuning.jobs.cancel(job_id)
        assert fails(claims), "its claim may have been committed: only the lock tells"
    assert not fails(claims)
    with api.sessions() as claiming:
        queue.wait_for_other_claims(claiming)
        assert not fails(claims)


def test_a_worker_tries_ever_more_rarely_to_take_a_task_that_it_may_not_take(
    api: Api, alice: Tenant, hasty: sessionmaker[Session]
) -> None:
    with api.sessions.begin() as session:
        for _ in range(2):
            client.create(session, alice.project_id, KINDS[ALONE], {}, None)
        assert leases.take(session, "another process", [ALONE])
    tasks = Tasks(hasty, 1, [ALONE], waiting=WaitingTasks(hasty, fresh_seconds=0))
    tried = []
    with api.sessions() as taking:
        leases.take(taking, "a process", [ALONE])
        for _ in range(3):  # its lock is held, so a look that tries fails
            tried.append(tries(tasks))
    assert tried == [True, True, True], "a look that failed says nothing of the task"
    tasks.look()
    tasks.look()
    with api.sessions() as taking:
        leases.take(taking, "a process", [ALONE])
        assert [tries(tasks) for _ in range(2)] == [False, True]


def tries(tasks: Tasks) -> bool:
    """Return whether a look tries to take a task, for which it would wait."""
    try:
        tasks.look()
    except OperationalError:
        return True
    return False
