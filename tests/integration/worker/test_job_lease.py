"""A job's line to the database, where what it is to write is at fault."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from core.errors import JobError
from core.jobs import lifecycle
from core.jobs.lifecycle import Progress
from core.tables import Event, Job, Run
from tests.fixtures.api import Api, Tenant, wait_for
from worker.report.job_lease import JobLease


@pytest.fixture
def job_lease(api: Api, alice: Tenant) -> Iterator[JobLease]:
    job_lease = JobLease(api.sessions, api.claim(alice.create_job()["id"]), time.monotonic())
    yield job_lease
    job_lease.close()


def test_a_write_that_the_client_library_refuses_is_not_tried_forever(job_lease: JobLease) -> None:
    def write(session: Session) -> None:
        session.execute(text("SELECT :value"), {"value": "\0"})

    with pytest.raises(DataError):
        job_lease.commit(write)


def test_the_seconds_left_run_down_during_a_long_step(api: Api, alice: Tenant, job_lease: JobLease) -> None:
    """So that the estimated finish stands still between two reports, rather than moving with the clock."""
    job_lease.progress(Progress("training", 1, 9, seconds_left=1000.0))
    job_lease.commit(lambda _session: None)
    estimated = alice.job(job_lease.lease.job_id)["estimated_finish"]
    assert estimated == pytest.approx(time.time() + 1000, abs=3)
    with api.sessions() as session:
        first = seconds_left(session, job_lease)
        wait_for(lambda: seconds_left(session, job_lease) < first - 1)
    assert alice.job(job_lease.lease.job_id)["estimated_finish"] == pytest.approx(estimated, abs=1)


def seconds_left(session: Session, job_lease: JobLease) -> float:
    query = select(Run.seconds_left).where(Run.job_id == job_lease.lease.job_id)
    left = session.execute(query).scalar_one()
    session.rollback()
    assert left is not None
    return left


def test_events_and_errors_take_any_text(api: Api, job_lease: JobLease) -> None:
    job_lease.event("quoted \0 and \ud83d")
    job_lease.commit(
        lambda session: lifecycle.fail(session, job_lease.lease, JobError("code", "quoted \0 and \ud83d"))
    )
    with api.sessions() as session:
        job = session.get_one(Job, job_lease.lease.job_id)
        messages = session.scalars(select(Event.message).where(Event.job_id == job.id)).all()
    assert "quoted \ufffd and \ufffd" in messages
    assert job.error is not None
    assert job.error["message"] == "quoted \ufffd and \ufffd"
