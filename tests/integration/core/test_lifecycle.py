"""The life of a job in the real database: one owner at a time, fenced writes, nothing lost."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import func, select, text

from core.errors import InvalidRequest, LeaseLost
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.events import record_event
from core.tables import Event, Job
from tests.fixtures.faults.database import lose_the_claim
from tests.fixtures.service.jobs import LIMIT, TRAINING, Jobs


def test_a_renewed_lease_does_not_run_out(jobs: Jobs) -> None:
    jobs.submit()
    lease = jobs.claim()
    with jobs.sessions.begin() as session:
        lifecycle.renew(session, lease, TRAINING)
        assert lifecycle.lose_expired_claims(session, LIMIT) == []
    (claim,) = jobs.claims_of(lease.job_id)
    assert (claim.phase, claim.step, claim.total_steps, claim.trained_tokens) == ("training", 1, 10, 50)


def test_renewals_write_to_the_page_of_their_claim_and_to_no_index(jobs: Jobs) -> None:
    """Otherwise each heartbeat would write to all indexes of the table, and they would grow."""
    with jobs.sessions() as session:
        options = session.scalar(text("SELECT reloptions FROM pg_class WHERE relname = 'runs'"))
        assert options == ["fillfactor=70"], "a page of claims has room for new versions of its rows"
    jobs.submit()
    lease = jobs.claim()
    on_the_page = text("SELECT n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'runs'")
    stayed = 0
    for step in range(20):
        with jobs.sessions.begin() as session:
            before = session.scalars(on_the_page).one()  # it also has what this session did shortly before
            lifecycle.renew(session, lease, replace(TRAINING, step=step, seconds_left=5.0))
            stayed += session.scalars(on_the_page).one() - before
    assert stayed >= 15, "one moves to another page where its own one is full"


@pytest.mark.parametrize("write", ["renew", "checkpoint", "finish", "fail", "release", "pause"])
@pytest.mark.parametrize(
    "taken", ["by the next trainer", "after a failover", "by a cancel", "by its own finish"]
)
def test_an_owner_whose_claim_is_closed_can_write_nothing(jobs: Jobs, write: str, taken: str) -> None:
    jobs.submit()
    lease = jobs.claim()
    if taken == "by the next trainer":
        jobs.let_the_lease_run_out(lease)
        jobs.claim("another trainer")
    elif taken == "after a failover":
        lose_the_claim(jobs.sessions, lease)
        again = jobs.claim("another trainer")
        assert (again.job_id, again.fence) == (lease.job_id, lease.fence)
        assert again.attempt != lease.attempt, "the keys of their objects differ"
    elif taken == "by a cancel":
        with jobs.sessions.begin() as session:
            lifecycle.cancel(session, session.get_one(Job, lease.job_id))
    else:
        jobs.finish(lease)
    before = jobs.state(lease.job_id)
    with pytest.raises(LeaseLost):
        jobs.writes(lease)[write]()
    assert jobs.state(lease.job_id) == before


def test_a_finished_job_has_its_model_its_result_and_its_events(jobs: Jobs) -> None:
    jobs.submit()
    lease = jobs.claim()
    jobs.finish(lease)
    job = jobs.job_of(lease.job_id)
    assert job.status == "succeeded"
    assert job.fine_tuned_model is not None
    assert job.fine_tuned_model.startswith("ft:base:")
    assert (job.trained_tokens, job.finished_at is not None, job.result_file_id is not None) == (
        7,
        True,
        True,
    )
    assert jobs.claims_of(lease.job_id)[0].outcome == "succeeded"


@pytest.mark.parametrize("ended", ["cancelled", "succeeded"])
def test_an_ended_job_cannot_be_cancelled(jobs: Jobs, ended: str) -> None:
    job_id = jobs.submit()
    if ended == "succeeded":
        jobs.finish(jobs.claim())
    with jobs.sessions.begin() as session:
        job = session.get_one(Job, job_id)
        if ended == "cancelled":
            lifecycle.cancel(session, job)
        with pytest.raises(InvalidRequest, match="already"):
            lifecycle.cancel(session, job)


def test_a_queued_job_pauses_at_once_and_keeps_its_place(jobs: Jobs) -> None:
    first, second = jobs.submit(), jobs.submit()
    jobs.change(lifecycle.pause, first)
    assert jobs.job_of(first).status == "paused"
    jobs.change(lifecycle.resume, first)
    assert [jobs.claim().job_id, jobs.claim().job_id] == [first, second]


def test_a_paused_job_is_not_claimed(jobs: Jobs) -> None:
    jobs.change(lifecycle.pause, jobs.submit())
    assert jobs.try_to_claim() is None


def test_a_running_job_without_a_step_pauses_at_once(jobs: Jobs) -> None:
    job_id = jobs.submit()
    lease = jobs.claim()
    jobs.change(lifecycle.pause, job_id)
    assert jobs.job_of(job_id).status == "paused"
    assert jobs.claims_of(job_id)[0].outcome == "paused"
    with pytest.raises(LeaseLost):
        jobs.renew(lease)


def test_a_job_that_goes_on_shows_where_it_stood_and_pauses_at_once_until_it_trains(jobs: Jobs) -> None:
    job_id = jobs.submit()
    lease = jobs.claim()
    jobs.renew(lease)
    stood = jobs.claims_of(job_id)[0]
    jobs.writes(lease)["release"]()
    lease = jobs.claim()
    shown = jobs.claims_of(job_id)[1]
    assert shown.phase == "claimed"
    for name in ("step", "total_steps", "epoch", "trained_tokens", "best_valid_loss", "best_step"):
        assert getattr(shown, name) == getattr(stood, name) == getattr(lease.last_progress, name)
    assert shown.tokens_per_second is shown.seconds_left is None
    jobs.change(lifecycle.pause, job_id)
    assert jobs.job_of(job_id).status == "paused"


def test_a_running_job_pauses_when_its_trainer_has_read_the_request_and_saved(jobs: Jobs) -> None:
    job_id = jobs.submit()
    lease = jobs.claim()
    assert jobs.renew(lease) is False
    for _ in range(2):  # a client that asks again changes nothing
        jobs.change(lifecycle.pause, job_id)
    assert jobs.job_of(job_id).status == "running"
    assert jobs.renew(lease) is True
    jobs.writes(lease)["checkpoint"]()
    assert jobs.finish_pause(lease) is True
    assert jobs.job_of(job_id).status == "paused"
    assert [claim.outcome for claim in jobs.claims_of(job_id)] == ["paused"]
    log = jobs.messages(job_id)
    assert log.count("The job will be paused once its trainer has saved a checkpoint") == 1
    assert log[-1] == "The job was paused"
    jobs.change(lifecycle.resume, job_id)
    again = jobs.claim("another trainer")
    assert (again.job_id, again.fence) == (job_id, 2)
    assert jobs.renew(again) is False, "the request belonged to the claim that it ended"


def test_a_request_to_pause_can_be_taken_back(jobs: Jobs) -> None:
    job_id = jobs.submit()
    lease = jobs.claim()
    jobs.renew(lease)
    jobs.change(lifecycle.pause, job_id)
    jobs.change(lifecycle.resume, job_id)
    assert jobs.finish_pause(lease) is False
    assert jobs.renew(lease) is False
    assert jobs.job_of(job_id).status == "running"


@pytest.mark.parametrize("end", ["lost", "released"])
def test_a_job_whose_trainer_is_gone_before_the_pause_is_paused_all_the_same(jobs: Jobs, end: str) -> None:
    job_id = jobs.submit()
    lease = jobs.claim()
    jobs.renew(lease)
    jobs.change(lifecycle.pause, job_id)
    if end == "lost":
        jobs.let_the_lease_run_out(lease)
    else:
        jobs.writes(lease)["release"]()
    assert jobs.job_of(job_id).status == "paused"
    assert jobs.claims_of(job_id)[0].outcome == end
    assert jobs.messages(job_id)[-1] == "The job was paused"


def test_a_job_that_finishes_before_its_pause_has_succeeded(jobs: Jobs) -> None:
    job_id = jobs.submit()
    lease = jobs.claim()
    jobs.renew(lease)
    jobs.change(lifecycle.pause, job_id)
    jobs.finish(lease)
    assert jobs.job_of(job_id).status == "succeeded"


def test_a_paused_job_can_be_cancelled(jobs: Jobs) -> None:
    job_id = jobs.submit()
    jobs.change(lifecycle.pause, job_id)
    jobs.change(lifecycle.cancel, job_id)
    assert jobs.job_of(job_id).status == "cancelled"


@pytest.mark.parametrize("ended", ["paused", "cancelled", "succeeded"])
def test_a_job_that_is_not_active_cannot_be_paused(jobs: Jobs, ended: str) -> None:
    job_id = jobs.submit()
    if ended == "succeeded":
        jobs.finish(jobs.claim())
    else:
        jobs.change(lifecycle.pause if ended == "paused" else lifecycle.cancel, job_id)
    with pytest.raises(InvalidRequest, match=f"(is|has already|has already been) {ended}; only"):
        jobs.change(lifecycle.pause, job_id)


@pytest.mark.parametrize("status", ["queued", "running", "cancelled"])
def test_only_a_paused_job_can_be_resumed(jobs: Jobs, status: str) -> None:
    job_id = jobs.submit()
    if status == "running":
        jobs.claim()
    elif status == "cancelled":
        jobs.change(lifecycle.cancel, job_id)
    with pytest.raises(InvalidRequest, match="only a paused job can be resumed"):
        jobs.change(lifecycle.resume, job_id)
    assert jobs.job_of(job_id).status == status


def test_an_event_written_twice_stands_once(jobs: Jobs) -> None:
    job_id, event_id = jobs.submit(), new_id("ftevent-")
    for _ in range(2):
        with jobs.sessions.begin() as session:
            record_event(session, job_id, "once", event_id=event_id)
    with jobs.sessions() as session:
        assert (
            session.scalar(select(func.count()).where(Event.job_id == job_id, Event.message == "once")) == 1
        )


def test_a_cancel_and_a_heartbeat_with_events_do_not_wait_for_each_other_in_a_circle(jobs: Jobs) -> None:
    jobs.submit()
    lease = jobs.claim()
    cancelling = threading.Event()

    def cancel() -> None:
        with jobs.sessions.begin() as session:
            job = session.get_one(Job, lease.job_id)
            cancelling.set()
            lifecycle.cancel(session, job)

    with ThreadPoolExecutor(1) as pool:
        with jobs.sessions.begin() as heartbeat:
            lifecycle.renew(heartbeat, lease, TRAINING)
            cancelled = pool.submit(cancel)
            assert cancelling.wait(120)
            jobs.wait_for_a_blocked_session()
            record_event(heartbeat, lease.job_id, "a step")
        cancelled.result(10)
    assert jobs.job_of(lease.job_id).status == "cancelled"


def test_an_event_from_outside_does_not_commit_before_a_heartbeats_with_a_lower_number(jobs: Jobs) -> None:
    """Else who has read it would never be told of the lower one."""
    jobs.submit()
    lease = jobs.claim()

    def say() -> None:
        with jobs.sessions.begin() as session:
            lifecycle.record_outside_event(session, lease.job_id, "from outside")

    with ThreadPoolExecutor(1) as pool:
        with jobs.sessions.begin() as heartbeat:
            lifecycle.renew(heartbeat, lease, TRAINING)
            record_event(heartbeat, lease.job_id, "a step")
            said = pool.submit(say)
            jobs.wait_for_a_blocked_session()
        said.result(10)
    with jobs.sessions() as session:
        query = select(Event.message).where(Event.job_id == lease.job_id).order_by(Event.sequence)
        assert list(session.scalars(query))[-2:] == ["a step", "from outside"]
