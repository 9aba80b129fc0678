"""A job's line to the database, where what it is to write is at fault."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DataError, ProgrammingError
from sqlalchemy.orm import Session

from core.errors import JobError
from core.jobs import lifecycle
from core.jobs.lifecycle import Progress
from core.tables import Claim, Event, Job
from core.tracing import spans
from tests.fixtures.outside.collector import sending_as
from tests.fixtures.service.api import Api, Tenant, wait_for
from worker.trainer.report.heartbeats import Heartbeats
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.job_trace import JobTrace
from worker.trainer.train.first_reports import LoadReport


@pytest.fixture
def job_lease(api: Api, alice: Tenant) -> Iterator[JobLease]:
    job_lease = JobLease(api.sessions, api.claim(alice.create_job()["id"]), time.monotonic())
    yield job_lease
    job_lease.close()


@pytest.fixture
def beside(api: Api, alice: Tenant) -> Iterator[list[JobLease]]:
    """The leases of four jobs of one trainer."""
    heartbeats = Heartbeats(api.sessions)
    leases = [
        JobLease(api.sessions, api.claim(alice.create_job()["id"]), time.monotonic(), heartbeats)
        for _ in range(4)
    ]
    yield leases
    for lease in leases:
        lease.close()


def ends(api: Api, leases: list[JobLease]) -> list[datetime]:
    """When each lease ends."""
    with api.sessions() as session:
        found = {claim.job_id: claim.expires_at for claim in session.scalars(select(Claim))}
    return [found[lease.lease.job_id] for lease in leases]


def all_later(api: Api, leases: list[JobLease], than: list[datetime]) -> bool:
    return all(now > before for now, before in zip(ends(api, leases), than, strict=True))


def test_a_job_shows_how_much_of_its_base_model_has_been_read(
    api: Api, alice: Tenant, job_lease: JobLease
) -> None:
    """And its lease is renewed meanwhile, though the training thread loads. A long load has events too."""
    job_id = job_lease.lease.job_id
    for seconds, read, shown in ((100.0, 0, "0.0"), (0.0, 8 * 10**9, "8.0")):
        LoadReport(job_lease, seconds)(read, 16 * 10**9)
        phase = f"loading the base model: {shown} of 16.0 GB"
        wait_for(lambda phase=phase: alice.job(job_id)["progress"]["phase"] == phase)
    before = ends(api, [job_lease])
    wait_for(lambda: all_later(api, [job_lease], before))
    told = wait_for(lambda: [each for each in alice.events(job_id) if "Loading" in each["message"]])[0]
    assert told["message"] == "Loading the base model: 8.0 of 16.0 GB"
    assert told["data"] == {"code": "model_loading", "read_bytes": 8 * 10**9, "bytes": 16 * 10**9}


def test_the_leases_of_a_trainer_are_renewed_in_one_transaction(api: Api, beside: list[JobLease]) -> None:
    before = ends(api, beside)
    wait_for(lambda: all_later(api, beside, before))
    assert len(set(ends(api, beside))) == 1, "all ends are counted from the beginning of one transaction"


def test_a_job_whose_claim_is_locked_or_lost_holds_up_no_other(api: Api, beside: list[JobLease]) -> None:
    locked, lost, *others = beside
    others[0].event("written all the same")
    with api.sessions() as session:
        session.execute(update(Claim).where(Claim.job_id == lost.lease.job_id).values(nonce="of another one"))
        session.commit()
        session.execute(select(Claim).where(Claim.job_id == locked.lease.job_id).with_for_update())
        for _ in range(2):
            before = ends(api, others)
            wait_for(lambda now=before: all_later(api, others, now))
        assert lost.lost
    stood_still = ends(api, [locked])
    wait_for(lambda: all_later(api, [locked], stood_still))
    with api.sessions() as session:
        assert "written all the same" in session.scalars(select(Event.message)).all()


@pytest.mark.exhaustive
def test_a_job_with_a_statement_without_end_holds_up_no_other(api: Api, beside: list[JobLease]) -> None:
    hanging, *others = beside
    hanging.write(lambda session: session.execute(text("SELECT pg_sleep(100)")))
    for _ in range(2):
        before = ends(api, others)
        wait_for(lambda now=before: all_later(api, others, now), seconds=60)


def outlasts_its_claim(api: Api, job_lease: JobLease) -> bool:
    """Return whether the trainer believes in a lease that has ended in the database."""
    with api.sessions() as session:
        left = Claim.expires_at - func.clock_timestamp()
        in_database = session.scalars(select(left).where(Claim.job_id == job_lease.lease.job_id)).one()
    believed = job_lease._renewed_at + job_lease.lease.seconds - time.monotonic()
    return believed > in_database.total_seconds()


def test_no_lease_outlasts_its_claim_after_a_wait_for_the_job_s_lock(api: Api, job_lease: JobLease) -> None:
    job_lease.close()  # no heartbeat renews it afterwards
    with api.sessions() as session, ThreadPoolExecutor(1) as pool:
        session.execute(select(Job).where(Job.id == job_lease.lease.job_id).with_for_update())
        committed = pool.submit(job_lease.commit, lambda _session: None)
        wait_for(lambda: waits_for_a_lock(api))
        time.sleep(0.5)  # the wait itself is what must not count
        session.rollback()
        committed.result()
    assert not outlasts_its_claim(api, job_lease)


def waits_for_a_lock(api: Api) -> bool:
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')")
    with api.sessions() as session:
        return bool(session.execute(query).scalar_one())


def test_no_lease_outlasts_its_claim_behind_another_job_s_slow_reports(
    api: Api, beside: list[JobLease]
) -> None:
    for lease in beside:
        lease.close()
    beside[0].write(lambda session: session.execute(text("SELECT pg_sleep(0.5)")))
    Heartbeats(api.sessions).renew(beside)
    assert not any(outlasts_its_claim(api, lease) for lease in beside)


def test_a_write_that_the_client_library_refuses_is_not_tried_forever(job_lease: JobLease) -> None:
    with pytest.raises(DataError):
        job_lease.commit(refused)


def refused(session: Session) -> None:
    """Write what the database refuses."""
    session.execute(text("SELECT :value"), {"value": "\0"})


def test_a_report_that_the_database_refuses_fails_its_job_and_costs_no_lease(
    api: Api, job_lease: JobLease
) -> None:
    job_lease.write(refused)
    with pytest.raises(DataError):
        wait_for(job_lease.check)
    before = ends(api, [job_lease])
    wait_for(lambda: all_later(api, [job_lease], before))
    with pytest.raises(DataError):
        job_lease.commit(lambda _session: None)
    job_lease.write(refused)
    error = JobError("internal_error", "told to the client")
    job_lease.end(lambda session: lifecycle.fail(session, job_lease.lease, error))
    with api.sessions() as session:
        job = session.get_one(Job, job_lease.lease.job_id)
    assert (job.status, job.error and job.error["code"]) == ("failed", "internal_error")


def test_a_refused_renewal_is_not_blamed_on_the_reports(
    api: Api, job_lease: JobLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is migrated, it may not know a column of a claim for a moment."""
    migrated, renew_all, renew = [], lifecycle.renew_all, lifecycle.renew
    refusals: list[str] = []

    def before_the_migration(session: Session, *rest: Any) -> Any:
        if not migrated:
            refusals.append("a renewal")
            session.execute(text("UPDATE runs SET of_another_release = 1"))
        return (renew_all if isinstance(rest[0], dict) else renew)(session, *rest)

    monkeypatch.setattr(lifecycle, "renew_all", before_the_migration)
    monkeypatch.setattr(lifecycle, "renew", before_the_migration)
    job_lease.event("written after the migration")
    wait_for(lambda: len(refusals) >= 2)
    with pytest.raises(ProgrammingError):
        job_lease.commit(lambda _session: None)
    job_lease.check()
    migrated.append(True)
    wait_for(lambda: is_told(api, job_lease, "written after the migration"))


def test_reports_outlast_a_write_that_the_database_refuses(api: Api, job_lease: JobLease) -> None:
    job_lease.close()  # no heartbeat writes the report before
    job_lease.event("written all the same")
    with pytest.raises(DataError):
        job_lease.end(refused)
    job_lease.commit(lambda _session: None)
    assert is_told(api, job_lease, "written all the same")


def is_told(api: Api, job_lease: JobLease, message: str) -> bool:
    told = select(Event.id).where(Event.job_id == job_lease.lease.job_id, Event.message == message)
    with api.sessions() as session:
        return session.scalars(told).one_or_none() is not None


def test_a_trace_tells_only_of_an_end_that_is_written(api: Api, alice: Tenant) -> None:
    with sending_as("trainer") as collector:
        for lost in (True, False):
            lease = api.claim(alice.create_job()["id"], owner="one that dies")
            trace = JobTrace(spans.begin("job.claim").traceparent)
            job_lease = JobLease(api.sessions, lease, time.monotonic(), trace=trace)
            if lost:
                with api.sessions.begin() as session:
                    lifecycle.lose_claims_of(session, "one that dies", "it died", 3)
            job_lease.fail(JobError("code", "message"))
            job_lease.close()
        spans.stop()
        assert len(collector.named("job.failed")) == 1


def test_a_job_is_given_back_whatever_its_reports_are(api: Api, job_lease: JobLease) -> None:
    job_lease.close()  # no heartbeat meets the report before
    job_lease.write(refused)
    job_lease.end(lambda session: lifecycle.release(session, job_lease.lease, "The store was away"))
    with api.sessions() as session:
        job = session.get_one(Job, job_lease.lease.job_id)
    assert (job.status, job.lost_attempts) == ("queued", 0)


def test_the_seconds_left_run_down_during_a_long_step(api: Api, alice: Tenant, job_lease: JobLease) -> None:
    """So that the estimated finish stands still between two reports, rather than moving with the clock."""
    job_lease.progress(Progress("training", 1, 9, seconds_left=1000.0))
    job_lease.commit(lambda _session: None)
    estimated = alice.job(job_lease.lease.job_id)["estimated_finish"]
    assert estimated == pytest.approx(time.time() + 1000, abs=30)
    with api.sessions() as session:
        first = seconds_left(session, job_lease)
        wait_for(lambda: seconds_left(session, job_lease) < first - 1)
    assert alice.job(job_lease.lease.job_id)["estimated_finish"] == pytest.approx(estimated, abs=1)


def seconds_left(session: Session, job_lease: JobLease) -> float:
    query = select(Claim.seconds_left).where(Claim.job_id == job_lease.lease.job_id)
    left = session.execute(query).scalar_one()
    session.rollback()
    assert left is not None
    return left


def test_events_and_errors_take_any_text(api: Api, job_lease: JobLease) -> None:
    job_lease.event("quoted \0 and \ud83d", data={"a \0": ["quoted \0 and \ud83d", {"b": 1}]})
    job_lease.commit(
        lambda session: lifecycle.fail(session, job_lease.lease, JobError("code", "quoted \0 and \ud83d"))
    )
    with api.sessions() as session:
        job = session.get_one(Job, job_lease.lease.job_id)
        told = select(Event.data).where(Event.job_id == job.id, Event.message == "quoted \ufffd and \ufffd")
        (data,) = session.scalars(told)
    assert data == {"a \ufffd": ["quoted \ufffd and \ufffd", {"b": 1}]}
    assert job.error is not None
    assert job.error["message"] == "quoted \ufffd and \ufffd"
