"""The heartbeats of a trainer renew the leases of all its jobs together, and a job's end stays its own."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from core.jobs import lifecycle
from core.jobs.lifecycle import Progress
from core.tables import Claim, Event, Metric
from tests.fixtures.service.api import Api, Tenant, wait_for
from worker.trainer.report.heartbeats import Heartbeats
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.reporter import StepMetrics

COHORT = 16
BEATS = 40


@pytest.fixture
def cohort(api: Api, alice: Tenant) -> Iterator[list[JobLease]]:
    with trainer(api, alice, COHORT) as leases:
        yield leases


@contextmanager
def trainer(api: Api, tenant: Tenant, jobs: int) -> Iterator[list[JobLease]]:
    """Yield the leases of the new jobs of one trainer, each after its first step."""
    heartbeats = Heartbeats(api.sessions)
    leases = [
        JobLease(api.sessions, api.claim(tenant.create_job()["id"]), time.monotonic(), heartbeats)
        for _ in range(jobs)
    ]
    for lease in leases:
        lease.progress(Progress("training", 1, 9))
        lease.commit(lambda _session: None)
    try:
        yield leases
    finally:
        for lease in leases:
            lease.close()


@contextmanager
def statements(api: Api) -> Iterator[list[str]]:
    """Yield the statements that this thread executes meanwhile."""
    said, thread = [], threading.get_ident()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if threading.get_ident() == thread:
            said.append(statement)

    engine = api.sessions.kw["bind"]
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", note)


def claims_of(api: Api, leases: list[JobLease]) -> list[Claim]:
    with api.sessions() as session:
        found = {claim.job_id: claim for claim in session.scalars(select(Claim))}
    return [found[lease.lease.job_id] for lease in leases]


def test_sixteen_leases_are_renewed_by_one_statement_with_the_progress_of_each(
    api: Api, cohort: list[JobLease]
) -> None:
    for lease in cohort:
        lease.close()  # no heartbeat but the following one
    before = claims_of(api, cohort)
    for step, lease in enumerate(cohort):
        epoch = 0.5 * step if step % 2 else step // 2  # whole numbers beside fractions
        lease.progress(Progress("training", step, 99, epoch, None, 7 * step, None, 1.5 + step, step))
    with statements(api) as said:
        Heartbeats(api.sessions).renew(cohort)
    assert [statement.split()[0] for statement in said] == ["SELECT", "WITH"], "the limits, and the renewal"
    after = claims_of(api, cohort)
    assert len({claim.expires_at for claim in after}) == 1
    assert all(now.expires_at > then.expires_at for now, then in zip(after, before, strict=True))
    for step, claim in enumerate(after):
        assert (claim.phase, claim.step, claim.total_steps, claim.epoch) == ("training", step, 99, 0.5 * step)
        assert (claim.tokens_per_second, claim.trained_tokens, claim.seconds_left) == (None, 7 * step, None)
        assert (claim.best_valid_loss, claim.best_step) == (1.5 + step, step)


def test_the_reports_of_all_jobs_are_inserted_by_one_call_each(api: Api, cohort: list[JobLease]) -> None:
    for lease in cohort:
        lease.close()
    for lease in cohort:
        lease.metrics(StepMetrics(1, {"step": 1}), "a step of each")
    with statements(api) as said:
        Heartbeats(api.sessions).renew(cohort)
    assert [statement.split()[0] for statement in said] == ["SELECT", "WITH", "INSERT", "INSERT"]
    assert set(told(api, "a step of each")) == {lease.lease.job_id for lease in cohort}


def test_a_lost_lease_loses_itself_alone(api: Api, cohort: list[JobLease]) -> None:
    lost, *others = cohort
    with api.sessions.begin() as session:
        session.execute(update(Claim).where(Claim.job_id == lost.lease.job_id).values(nonce="of another one"))
    [stands_still] = claims_of(api, [lost])
    for lease in cohort:
        lease.event("after the loss")
        lease.metrics(StepMetrics(2, {"step": 2}), "a step after the loss")
    wait_for(lambda: lost.lost)
    wait_for(lambda: set(told(api, "after the loss")) == {lease.lease.job_id for lease in others})
    assert claims_of(api, [lost])[0].expires_at == stands_still.expires_at
    with api.sessions() as session:
        steps = session.scalars(select(Metric.job_id).where(Metric.step == 2)).all()
    assert set(steps) == set(told(api, "a step after the loss")) == {lease.lease.job_id for lease in others}
    assert len({claim.expires_at for claim in claims_of(api, others)}) == 1, "still in one transaction"
    assert not any(lease.lost for lease in others)


def told(api: Api, message: str) -> list[str]:
    """Return the ids of the jobs in whose log the message is."""
    with api.sessions() as session:
        return list(session.scalars(select(Event.job_id).where(Event.message == message)))


def test_a_request_to_pause_reaches_its_job_alone(alice: Tenant, cohort: list[JobLease]) -> None:
    asked = cohort[5]
    answer = alice.http.post(f"/v1/fine_tuning/jobs/{asked.lease.job_id}/pause")
    assert answer.status_code == 200, answer.text
    wait_for(lambda: asked.pause_requested)
    assert [lease for lease in cohort if lease.pause_requested] == [asked]


def test_two_leases_of_one_job_are_told_apart(api: Api, alice: Tenant) -> None:
    """A trainer may claim a job again before it has noticed that it has lost it."""
    job_id = alice.create_job()["id"]
    first = api.claim(job_id)
    with api.sessions.begin() as session:
        lifecycle.release(session, first, "by another process")
    second = api.claim(job_id)
    progress = {first: Progress("training", 8, 9), second: Progress("training", 3, 9)}
    with api.sessions.begin() as session:
        assert lifecycle.renew_all(session, progress) == {second: False}
    with api.sessions() as session:
        steps = session.execute(
            select(Claim.fence, Claim.step).where(Claim.job_id == job_id).order_by(Claim.fence)
        )
        assert [tuple(row) for row in steps] == [(1, 0), (2, 3)]


def test_heartbeats_and_cancels_do_not_wait_for_each_other_in_a_circle(
    api: Api, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancel locks a job, then its claim; a heartbeat holds claims while it writes their jobs' events."""
    monkeypatch.setattr(
        "worker.trainer.report.heartbeats.limit_waits", lambda *_, **__: None
    )  # which would hide it
    with trainer(api, alice, 8) as mine, trainer(api, alice, 8) as others:
        for lease in mine + others:
            lease.close()  # the threads below beat without a pause
        cancelled = [*mine[::2], *others[::2]]

        def beat(leases: list[JobLease]) -> None:
            for step in range(BEATS):
                for lease in leases:
                    if not lease.lost:
                        lease.metrics(StepMetrics(step, {"step": step}), f"Step {step}")
                Heartbeats(api.sessions).renew([lease for lease in leases if not lease.lost])

        def cancel() -> None:
            for lease in cancelled:
                answer = alice.http.post(f"/v1/fine_tuning/jobs/{lease.lease.job_id}/cancel")
                assert answer.status_code == 200, answer.text

        at_once(lambda: beat(mine), lambda: beat(others), cancel)
        for leases in (mine, others):
            Heartbeats(api.sessions).renew([lease for lease in leases if not lease.lost])
        assert [lease for lease in (*mine, *others) if lease.lost] == cancelled


def test_claims_are_locked_in_the_order_of_their_jobs(api: Api, cohort: list[JobLease]) -> None:
    """Else two transactions that lock the same claims could each wait for the other."""
    for lease in cohort:
        lease.close()
    ids = sorted(lease.lease.job_id for lease in cohort)
    backwards = dict.fromkeys(
        sorted((lease.lease for lease in cohort), key=lambda lease: lease.job_id, reverse=True),
        Progress("training", 1, 9),
    )

    def renew() -> None:
        with api.sessions.begin() as session:
            assert lifecycle.renew_all(session, backwards).keys() == backwards.keys()

    with ThreadPoolExecutor(1) as pool, api.sessions() as session:  # a failure frees the row, then waits
        session.execute(select(Claim).where(Claim.job_id == ids[8]).with_for_update())
        renewed = pool.submit(renew)
        wait_for(lambda: waits_for_a_lock(api))
        with api.sessions() as other:
            free = select(Claim.job_id).where(Claim.job_id.in_(ids)).with_for_update(skip_locked=True)
            assert sorted(other.scalars(free)) == ids[9:]
        session.rollback()
        renewed.result()


def waits_for_a_lock(api: Api) -> bool:
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')")
    with api.sessions() as session:
        return bool(session.execute(query).scalar_one())


def at_once(*calls: Callable[[], None]) -> None:
    """Make the calls in threads, and raise what any of them raises."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for made in [pool.submit(call) for call in calls]:
            made.result()
