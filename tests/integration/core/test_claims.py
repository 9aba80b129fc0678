"""Which job a trainer claims, and that no other trainer claims it too."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from core import database
from core.jobs import lifecycle, queue
from core.jobs.lifecycle import Lease
from core.tables import Claim, Job
from tests.fixtures.postgres.pgbouncer import ADDRESSES
from tests.fixtures.service.jobs import LEASE, Jobs

pytestmark = ADDRESSES


def test_the_oldest_job_is_claimed_first(jobs: Jobs) -> None:
    first, second = jobs.submit(), jobs.submit()
    assert [jobs.claim().job_id, jobs.claim().job_id] == [first, second]


def test_a_job_that_is_passed_over_waits_and_holds_up_nothing(jobs: Jobs) -> None:
    first, second = jobs.submit(), jobs.submit()
    assert jobs.claim(passed_over={first}).job_id == second
    assert jobs.try_to_claim(passed_over={first}) is None
    job = jobs.job_of(first)
    assert (job.status, job.fence) == ("queued", 0)
    assert jobs.claim().job_id == first


def test_the_project_that_runs_least_comes_first(jobs: Jobs) -> None:
    busy, idle = jobs.new_project(), jobs.new_project()
    ids = [jobs.submit(project_id=project) for project in (busy, busy, busy, idle, idle)]
    claimed = [jobs.claim().job_id for _ in ids]
    assert claimed == [ids[0], ids[3], ids[1], ids[4], ids[2]]


def test_claims_keep_the_order_of_the_positions_that_clients_see(jobs: Jobs) -> None:
    projects = [jobs.new_project() for _ in range(4)]
    for number in (0, 0, 1, 0, 2, 2, 1, 0, 3, 0):
        jobs.submit(project_id=projects[number])
    with jobs.sessions() as session:
        positions = {row.position: row.id for row in session.execute(queue.positions())}
    assert [jobs.claim().job_id for _ in positions] == [positions[position] for position in sorted(positions)]


def test_a_job_that_a_client_is_changing_holds_up_nothing(jobs: Jobs) -> None:
    project = jobs.new_project()
    first, second = (jobs.submit(project_id=project) for _ in range(2))
    with jobs.sessions.begin() as session:
        lifecycle.cancel(session, session.get_one(Job, first))
        assert jobs.claim().job_id == second
        assert jobs.try_to_claim() is None


def test_a_worker_claims_jobs_of_its_device_class_and_no_other(jobs: Jobs) -> None:
    on_two, on_one = jobs.submit(devices=2), jobs.submit()
    assert jobs.claim().job_id == on_one
    assert jobs.try_to_claim() is None
    with jobs.sessions() as session:
        assert not queue.jobs_wait(session, None)
        assert queue.jobs_wait(session, None, devices=2)
    assert jobs.claim(devices=2).job_id == on_two


def test_a_project_at_its_cap_waits_and_others_do_not(jobs: Jobs) -> None:
    project = jobs.new_project()
    first, second = (jobs.submit(project_id=project) for _ in range(2))
    other = jobs.submit()
    lease = jobs.claim(project_jobs=1)
    assert lease.job_id == first
    assert jobs.claim(project_jobs=1).job_id == other
    assert jobs.try_to_claim(project_jobs=1) is None
    with jobs.sessions() as session:
        assert not queue.jobs_wait(session, project_jobs=1)
        assert queue.jobs_wait(session, project_jobs=2)
    jobs.finish(lease)
    assert jobs.claim(project_jobs=1).job_id == second


LOOKS_FIRST = pytest.mark.parametrize("looks_first", [False, True])


@LOOKS_FIRST
def test_trainers_that_claim_at_once_do_not_exceed_the_cap_together(jobs: Jobs, looks_first: bool) -> None:
    project = jobs.new_project()
    for _ in range(8):
        jobs.submit(project_id=project)
    start = threading.Barrier(8)

    def claim_one(number: int) -> Lease | None:
        start.wait()
        return jobs.try_to_claim(f"trainer {number}", project_jobs=2, looks_first=looks_first)

    with ThreadPoolExecutor(8) as pool:
        leases = [lease for lease in pool.map(claim_one, range(8)) if lease is not None]
    assert len(leases) == 2


def test_a_job_that_is_refused_stays_and_holds_up_what_is_behind_it(jobs: Jobs) -> None:
    first = jobs.submit("another")
    jobs.submit("base")
    assert jobs.try_to_claim(accepts=lambda job: job.base_model == "base") is None
    assert jobs.job_of(first).status == "queued"
    assert jobs.claim(accepts=lambda job: job.base_model == "another").job_id == first


@LOOKS_FIRST
def test_many_trainers_at_once_never_claim_the_same_job(jobs: Jobs, looks_first: bool) -> None:
    ids = [jobs.submit() for _ in range(20)]
    start = threading.Barrier(8)

    def claim_all(number: int) -> list[str]:
        start.wait()
        mine = []
        for _ in range(20):
            with jobs.sessions.begin() as session:
                lease = lifecycle.claim(session, f"trainer {number}", LEASE, looks_first=looks_first)
            if lease is not None:
                mine.append(lease.job_id)
        return mine

    with ThreadPoolExecutor(8) as pool:
        claimed = [job_id for mine in pool.map(claim_all, range(8)) for job_id in mine]
    assert sorted(claimed) == sorted(ids)


@pytest.mark.parametrize("waits", [False, True], ids=["no job waits", "the next job is refused"])
def test_a_trainer_that_would_claim_nothing_does_not_wait_for_the_claims_of_others(
    jobs: Jobs, waits: bool
) -> None:
    if waits:
        jobs.submit("another")
    with jobs.sessions() as claiming:
        queue.wait_for_other_claims(claiming)
        refuses = {"accepts": lambda job: job.base_model == "base", "looks_first": True}
        assert jobs.try_to_claim(**refuses) is None


def test_a_job_that_changes_between_the_look_and_the_claim_is_claimed_as_it_is_then(jobs: Jobs) -> None:
    first, second = jobs.submit(), jobs.submit()
    seen: list[str] = []

    def accepts(job: Job) -> bool:
        if not seen:
            jobs.change(lifecycle.cancel, first)
        seen.append(job.id)
        return True

    assert jobs.claim(accepts=accepts, looks_first=True).job_id == second
    assert seen == [first, second]


def test_a_lease_that_ran_out_goes_to_the_next_trainer_under_a_higher_fence(jobs: Jobs) -> None:
    jobs.submit()
    old = jobs.claim()
    jobs.let_the_lease_run_out(old)
    new = jobs.claim("another trainer")
    assert (new.job_id, new.fence) == (old.job_id, old.fence + 1)
    assert [claim.outcome for claim in jobs.claims_of(new.job_id)] == ["lost", None]


def test_a_claim_repeated_with_its_token_returns_its_lease_and_claims_no_second_job(jobs: Jobs) -> None:
    first, second = jobs.submit(), jobs.submit()
    lease = jobs.claim(nonce="a nonce")
    with jobs.sessions.begin() as session:
        session.execute(update(Claim).where(Claim.job_id == first).values(expires_at=func.now()))
    assert jobs.claim(nonce="a nonce") == lease
    (claim,) = jobs.claims_of(first)
    with jobs.sessions() as session:
        assert claim.expires_at > session.scalar(select(func.now())) + timedelta(seconds=LEASE - 10)
    assert jobs.messages(first).count("Fine-tuning job started") == 1
    assert jobs.claim("another trainer", nonce="a nonce").job_id == second
    jobs.writes(lease)["release"]()
    assert jobs.claim(nonce="a nonce").fence == 2, "a claim that has ended is not taken up"


def test_a_process_frozen_in_its_claim_stops_neither_other_claims_nor_a_cancel(jobs: Jobs) -> None:
    """The server ends its session: it would hold the lock of the claims, and the job's row."""
    assert database.IDLE_IN_TRANSACTION_TIMEOUT < database.STATEMENT_TIMEOUT, "or who waits gives up first"
    first, _second = jobs.submit(), jobs.submit()
    with ThreadPoolExecutor(2) as pool, jobs.sessions() as frozen:
        frozen.execute(text("SET LOCAL idle_in_transaction_session_timeout = '1s'"))  # as if it had waited
        held = lifecycle.claim(frozen, "a frozen trainer", LEASE)
        assert held is not None
        assert held.job_id == first
        claimed = pool.submit(jobs.claim)
        cancelled = pool.submit(jobs.change, lifecycle.cancel, first)
        claimed.result(15)
        cancelled.result(15)
        with pytest.raises(DBAPIError) as thawed:
            frozen.commit()
    assert thawed.value.connection_invalidated, "the trainer tries again after a lost connection alone"
    assert jobs.job_of(first).status == "cancelled"
