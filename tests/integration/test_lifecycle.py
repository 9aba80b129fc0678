"""The life of a job in the real database: one owner at a time, fenced writes, nothing lost."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from core import lifecycle
from core.database import create_database, session_factory
from core.errors import InvalidRequest, JobError, LeaseLost
from core.ids import new_id
from core.jobspec import Hyperparameters, JobSpec
from core.lifecycle import Lease, Progress
from core.models import Adapter, Checkpoint, Event, File, Job, Project, Run
from tests.fixtures.api import wait_for

LEASE = 60.0
LIMIT = 3
TRAINING = Progress("training", 1, 10, 0.1, 100.0, 50, 9.0)


@pytest.fixture(scope="module")
def sessions(database_url: str) -> Iterator[sessionmaker[Session]]:
    engine = create_database(database_url)
    yield session_factory(engine)
    engine.dispose()


@pytest.fixture(autouse=True)
def empty_queue(sessions: sessionmaker[Session]) -> None:
    """What an earlier test left waiting would be claimed first."""
    with sessions.begin() as session:
        for job in session.scalars(select(Job).where(Job.status.in_(["queued", "running"]))):
            lifecycle.cancel(session, job)


def submit(sessions: sessionmaker[Session], base_model: str = "base") -> str:
    with sessions.begin() as session:
        project = Project(id=new_id("proj_"), name=new_id("p"))
        file = new_file(project.id)
        session.add(project)
        session.flush()
        session.add(file)
        session.flush()
        hyperparameters = Hyperparameters(n_epochs=1, batch_size=4, learning_rate_multiplier=1.0)
        spec = JobSpec(base_model=base_model, seed=1, hyperparameters=hyperparameters)
        job = Job(
            id=new_id("ftjob-"),
            project_id=project.id,
            base_model=base_model,
            training_file_id=file.id,
            spec=spec.model_dump(),
        )
        lifecycle.submit(session, job)
        return job.id


def new_file(project_id: str) -> File:
    file_id = new_id("file-")
    return File(
        id=file_id,
        project_id=project_id,
        filename="f",
        purpose="fine-tune",
        bytes=1,
        sha256="",
        object_key=file_id,
    )


def claim(sessions: sessionmaker[Session], owner: str = "a trainer") -> Lease:
    with sessions.begin() as session:
        lease = lifecycle.claim(session, owner, LEASE)
    assert lease is not None
    return lease


def job_of(sessions: sessionmaker[Session], job_id: str) -> Job:
    with sessions() as session:
        return session.get_one(Job, job_id)


def runs_of(sessions: sessionmaker[Session], job_id: str) -> list[Run]:
    with sessions() as session:
        return list(session.scalars(select(Run).where(Run.job_id == job_id).order_by(Run.fence)))


def finish(sessions: sessionmaker[Session], lease: Lease) -> None:
    with sessions.begin() as session:
        project_id = session.get_one(Job, lease.job_id).project_id
        adapter = Adapter(
            id=new_id("adapter-"),
            project_id=project_id,
            job_id=lease.job_id,
            object_prefix="",
            files=[],
            training={},
        )
        lifecycle.finish(session, lease, adapter, new_file(project_id), trained_tokens=7)


def let_the_lease_run_out(sessions: sessionmaker[Session], lease: Lease) -> None:
    with sessions.begin() as session:
        past = func.now() - timedelta(seconds=1)
        session.execute(update(Run).where(Run.job_id == lease.job_id).values(expires_at=past))
        assert lifecycle.lose_expired_runs(session, LIMIT) == [lease.job_id]


def test_the_oldest_job_is_claimed_first(sessions: sessionmaker[Session]) -> None:
    first, second = submit(sessions), submit(sessions)
    assert [claim(sessions).job_id, claim(sessions).job_id] == [first, second]


def test_a_base_model_can_be_asked_for(sessions: sessionmaker[Session]) -> None:
    submit(sessions, "one")
    other = submit(sessions, "another")
    with sessions.begin() as session:
        lease = lifecycle.claim(session, "a trainer", LEASE, base_model="another")
    assert lease is not None
    assert lease.job_id == other


def test_many_trainers_at_once_never_claim_the_same_job(sessions: sessionmaker[Session]) -> None:
    jobs = [submit(sessions) for _ in range(20)]
    start = threading.Barrier(8)

    def claim_all(number: int) -> list[str]:
        start.wait()
        mine = []
        for _ in range(20):
            with sessions.begin() as session:
                lease = lifecycle.claim(session, f"trainer {number}", LEASE)
            if lease is not None:
                mine.append(lease.job_id)
        return mine

    with ThreadPoolExecutor(8) as pool:
        claimed = [job_id for mine in pool.map(claim_all, range(8)) for job_id in mine]
    assert sorted(claimed) == sorted(jobs)


def test_a_lease_that_ran_out_goes_to_the_next_trainer_under_a_higher_fence(
    sessions: sessionmaker[Session],
) -> None:
    submit(sessions)
    old = claim(sessions)
    let_the_lease_run_out(sessions, old)
    new = claim(sessions, "another trainer")
    assert (new.job_id, new.fence) == (old.job_id, old.fence + 1)
    assert [run.outcome for run in runs_of(sessions, new.job_id)] == ["lost", None]


def test_a_renewed_lease_does_not_run_out(sessions: sessionmaker[Session]) -> None:
    submit(sessions)
    lease = claim(sessions)
    with sessions.begin() as session:
        lifecycle.renew(session, lease, TRAINING)
        assert lifecycle.lose_expired_runs(session, LIMIT) == []
    (run,) = runs_of(sessions, lease.job_id)
    assert (run.phase, run.step, run.total_steps, run.trained_tokens) == ("training", 1, 10, 50)


def writes(sessions: sessionmaker[Session], lease: Lease) -> dict[str, Any]:
    """Everything that an owner can do, as attempts in transactions of their own."""

    def within(action: Any) -> Any:
        def run() -> None:
            with sessions.begin() as session:
                action(session)

        return run

    checkpoint = Checkpoint(
        id=new_id("ftckpt-"),
        job_id=lease.job_id,
        fence=lease.fence,
        step=1,
        ends_epoch=True,
        metrics={},
        object_prefix="",
        files=[],
    )
    return {
        "renew": within(lambda session: lifecycle.renew(session, lease, TRAINING)),
        "checkpoint": within(lambda session: lifecycle.record_checkpoint(session, lease, checkpoint)),
        "finish": lambda: finish(sessions, lease),
        "fail": within(lambda session: lifecycle.fail(session, lease, JobError("code", "message"))),
        "release": within(lambda session: lifecycle.release(session, lease, "why")),
    }


@pytest.mark.parametrize("write", ["renew", "checkpoint", "finish", "fail", "release"])
@pytest.mark.parametrize("taken", ["by the next trainer", "by a cancel", "by its own finish"])
def test_an_owner_whose_run_is_closed_can_write_nothing(
    sessions: sessionmaker[Session], write: str, taken: str
) -> None:
    submit(sessions)
    lease = claim(sessions)
    if taken == "by the next trainer":
        let_the_lease_run_out(sessions, lease)
        claim(sessions, "another trainer")
    elif taken == "by a cancel":
        with sessions.begin() as session:
            lifecycle.cancel(session, session.get_one(Job, lease.job_id))
    else:
        finish(sessions, lease)
    before = state(sessions, lease.job_id)
    with pytest.raises(LeaseLost):
        writes(sessions, lease)[write]()
    assert state(sessions, lease.job_id) == before


def state(sessions: sessionmaker[Session], job_id: str) -> Any:
    with sessions() as session:
        counts = [
            session.scalar(select(func.count()).select_from(table).where(table.job_id == job_id))
            for table in (Event, Checkpoint, Adapter)
        ]
    job = job_of(sessions, job_id)
    runs = [(run.fence, run.outcome, run.expires_at, run.step) for run in runs_of(sessions, job_id)]
    return counts, job.status, job.fine_tuned_model, job.error, runs


def test_a_finished_job_has_its_model_its_result_and_its_events(sessions: sessionmaker[Session]) -> None:
    submit(sessions)
    lease = claim(sessions)
    finish(sessions, lease)
    job = job_of(sessions, lease.job_id)
    assert job.status == "succeeded"
    assert job.fine_tuned_model is not None
    assert job.fine_tuned_model.startswith("ft:base:")
    assert (job.trained_tokens, job.finished_at is not None, job.result_file_id is not None) == (
        7,
        True,
        True,
    )
    assert runs_of(sessions, lease.job_id)[0].outcome == "succeeded"


def test_a_job_lost_too_often_fails_with_the_reason_unless_it_made_progress(
    sessions: sessionmaker[Session],
) -> None:
    job_id = submit(sessions)
    for attempt in range(LIMIT + 1):
        lease = claim(sessions, f"owner {attempt}")
        if attempt == 1:
            writes(sessions, lease)["checkpoint"]()
        with sessions.begin() as session:
            lifecycle.lose_runs_of(session, f"owner {attempt}", "The trainer burst", LIMIT)
        if attempt < LIMIT:
            assert job_of(sessions, job_id).status == "queued"
    job = job_of(sessions, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error["code"] == "worker_lost"
    assert "The trainer burst" in job.error["message"]


def test_a_released_job_is_not_blamed(sessions: sessionmaker[Session]) -> None:
    submit(sessions)
    lease = claim(sessions)
    writes(sessions, lease)["release"]()
    job = job_of(sessions, lease.job_id)
    assert (job.status, job.lost_attempts) == ("queued", 0)


@pytest.mark.parametrize("ended", ["cancelled", "succeeded"])
def test_an_ended_job_cannot_be_cancelled(sessions: sessionmaker[Session], ended: str) -> None:
    job_id = submit(sessions)
    if ended == "succeeded":
        finish(sessions, claim(sessions))
    with sessions.begin() as session:
        job = session.get_one(Job, job_id)
        if ended == "cancelled":
            lifecycle.cancel(session, job)
        with pytest.raises(InvalidRequest, match="already"):
            lifecycle.cancel(session, job)


def test_an_event_written_twice_stands_once(sessions: sessionmaker[Session]) -> None:
    job_id, event_id = submit(sessions), new_id("ftevent-")
    for _ in range(2):
        with sessions.begin() as session:
            lifecycle.record_event(session, job_id, "once", event_id=event_id)
    with sessions() as session:
        assert (
            session.scalar(select(func.count()).where(Event.job_id == job_id, Event.message == "once")) == 1
        )


def test_a_cancel_and_a_heartbeat_with_events_do_not_wait_for_each_other_in_a_circle(
    sessions: sessionmaker[Session],
) -> None:
    submit(sessions)
    lease = claim(sessions)
    cancelling = threading.Event()

    def cancel() -> None:
        with sessions.begin() as session:
            job = session.get_one(Job, lease.job_id)
            cancelling.set()
            lifecycle.cancel(session, job)

    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as heartbeat:
            lifecycle.renew(heartbeat, lease, TRAINING)
            cancelled = pool.submit(cancel)
            assert cancelling.wait(10)
            wait_for_a_blocked_session(sessions)
            lifecycle.record_event(heartbeat, lease.job_id, "a step")
        cancelled.result(10)
    assert job_of(sessions, lease.job_id).status == "cancelled"


def wait_for_a_blocked_session(sessions: sessionmaker[Session]) -> None:
    blocked = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def is_blocked() -> bool:
        with sessions() as session:
            return bool(session.connection().exec_driver_sql(blocked).scalar())

    wait_for(is_blocked)
