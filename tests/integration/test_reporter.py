"""A job's line to the database, where what it is to write is at fault."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from core import lifecycle
from core.errors import JobError
from core.lifecycle import Progress
from core.models import Event, Job, Run
from tests.fixtures.api import Api, Tenant, wait_for
from worker.reporter import Reporter


@pytest.fixture
def reporter(api: Api, alice: Tenant) -> Iterator[Reporter]:
    reporter = Reporter(api.sessions, api.claim(alice.create_job()["id"]), time.monotonic())
    yield reporter
    reporter.close()


def test_a_write_that_the_client_library_refuses_is_not_tried_forever(reporter: Reporter) -> None:
    def write(session: Session) -> None:
        session.execute(text("SELECT :value"), {"value": "\0"})

    with pytest.raises(DataError):
        reporter.commit(write)


def test_the_seconds_left_run_down_during_a_long_step(api: Api, alice: Tenant, reporter: Reporter) -> None:
    """So that the estimated finish stands still between two reports, rather than moving with the clock."""
    reporter.progress(Progress("training", 1, 9, seconds_left=1000.0))
    reporter.commit(lambda _session: None)
    estimated = alice.job(reporter.lease.job_id)["estimated_finish"]
    assert estimated == pytest.approx(time.time() + 1000, abs=3)
    with api.sessions() as session:
        first = seconds_left(session, reporter)
        wait_for(lambda: seconds_left(session, reporter) < first - 1)
    assert alice.job(reporter.lease.job_id)["estimated_finish"] == pytest.approx(estimated, abs=1)


def seconds_left(session: Session, reporter: Reporter) -> float:
    query = select(Run.seconds_left).where(Run.job_id == reporter.lease.job_id)
    left = session.execute(query).scalar_one()
    session.rollback()
    assert left is not None
    return left


def test_events_and_errors_take_any_text(api: Api, reporter: Reporter) -> None:
    reporter.event("quoted \0 and \ud83d")
    reporter.commit(
        lambda session: lifecycle.fail(session, reporter.lease, JobError("code", "quoted \0 and \ud83d"))
    )
    with api.sessions() as session:
        job = session.get_one(Job, reporter.lease.job_id)
        messages = session.scalars(select(Event.message).where(Event.job_id == job.id)).all()
    assert "quoted \ufffd and \ufffd" in messages
    assert job.error is not None
    assert job.error["message"] == "quoted \ufffd and \ufffd"
