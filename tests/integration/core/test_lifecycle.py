"""The life of a job in the real database: one owner at a time, fenced writes, nothing lost."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from core import database
from core.database import create_database, session_factory
from core.errors import InvalidRequest, JobError, LeaseLost
from core.ids import new_id
from core.jobs import lifecycle, queue
from core.jobs.events import record_event
from core.jobs.lifecycle import Lease, Progress
from core.jobs.spec import Hyperparameters, JobSpec
from core.tables import Adapter, Checkpoint, Event, File, Job, Project, Run
from tests.fixtures.faults.database import lose_the_claim
from tests.fixtures.service.api import wait_for

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
        for job in session.scalars(select(Job).where(Job.status.in_(["queued", "running", "paused"]))):
            lifecycle.cancel(session, job)


def new_project(sessions: sessionmaker[Session]) -> str:
    with sessions.begin() as session:
        project = Project(id=new_id("proj_"), name=new_id("p"))
        session.add(project)
        return project.id


def submit(
    sessions: sessionmaker[Session],
    base_model: str = "base",
    project_id: str | None = None,
    devices: int = 1,
) -> str:
    project_id = project_id or new_project(sessions)
    with sessions.begin() as session:
        file = new_file(project_id)
        session.add(file)
        session.flush()
        hyperparameters = Hyperparameters(n_epochs=1, batch_size=4, learning_rate_multiplier=1.0)
        spec = JobSpec(base_model=base_model, seed=1, hyperparameters=hyperparameters)
        job = Job(
            id=new_id("ftjob-"),
            project_id=project_id,
            base_model=base_model,
            devices=devices,
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


def try_to_claim(sessions: sessionmaker[Session], owner: str = "a trainer", **options: Any) -> Lease | None:
    with sessions.begin() as session:
        return lifecycle.claim(session, owner, LEASE, **options)


def claim(sessions: sessionmaker[Session], owner: str = "a trainer", **options: Any) -> Lease:
    lease = try_to_claim(sessions, owner, **options)
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


def test_a_job_that_is_passed_over_waits_and_holds_up_nothing(sessions: sessionmaker[Session]) -> None:
    first, second = submit(sessions), submit(sessions)
    assert claim(sessions, passed_over={first}).job_id == second
    assert try_to_claim(sessions, passed_over={first}) is None
    job = job_of(sessions, first)
    assert (job.status, job.fence) == ("queued", 0)
    assert claim(sessions).job_id == first


def test_the_project_that_runs_least_comes_first(sessions: sessionmaker[Session]) -> None:
    busy, idle = new_project(sessions), new_project(sessions)
    jobs = [submit(sessions, project_id=project) for project in (busy, busy, busy, idle, idle)]
    claimed = [claim(sessions).job_id for _ in jobs]
    assert claimed == [jobs[0], jobs[3], jobs[1], jobs[4], jobs[2]]


def test_claims_keep_the_order_of_the_places_that_clients_see(sessions: sessionmaker[Session]) -> None:
    projects = [new_project(sessions) for _ in range(4)]
    for number in (0, 0, 1, 0, 2, 2, 1, 0, 3, 0):
        submit(sessions, project_id=projects[number])
    with sessions() as session:
        places = {row.position: row.id for row in session.execute(queue.positions())}
    assert [claim(sessions).job_id for _ in places] == [places[place] for place in sorted(places)]


def test_a_job_that_a_client_is_changing_holds_up_nothing(sessions: sessionmaker[Session]) -> None:
    project = new_project(sessions)
    first, second = (submit(sessions, project_id=project) for _ in range(2))
    with sessions.begin() as session:
        lifecycle.cancel(session, session.get_one(Job, first))
        assert claim(sessions).job_id == second
        assert try_to_claim(sessions) is None


def test_a_worker_claims_jobs_of_its_device_class_and_no_other(sessions: sessionmaker[Session]) -> None:
    on_two, on_one = submit(sessions, devices=2), submit(sessions)
    assert claim(sessions).job_id == on_one
    assert try_to_claim(sessions) is None
    with sessions() as session:
        assert not queue.jobs_wait(session, None)
        assert queue.jobs_wait(session, None, devices=2)
    assert claim(sessions, devices=2).job_id == on_two


def test_a_project_at_its_cap_waits_and_others_do_not(sessions: sessionmaker[Session]) -> None:
    project = new_project(sessions)
    first, second = (submit(sessions, project_id=project) for _ in range(2))
    other = submit(sessions)
    lease = claim(sessions, project_jobs=1)
    assert lease.job_id == first
    assert claim(sessions, project_jobs=1).job_id == other
    assert try_to_claim(sessions, project_jobs=1) is None
    with sessions() as session:
        assert not queue.jobs_wait(session, project_jobs=1)
        assert queue.jobs_wait(session, project_jobs=2)
    finish(sessions, lease)
    assert claim(sessions, project_jobs=1).job_id == second


def test_trainers_that_claim_at_once_do_not_exceed_the_cap_together(
    sessions: sessionmaker[Session],
) -> None:
    project = new_project(sessions)
    for _ in range(8):
        submit(sessions, project_id=project)
    start = threading.Barrier(8)

    def claim_one(number: int) -> Lease | None:
        start.wait()
        return try_to_claim(sessions, f"trainer {number}", project_jobs=2)

    with ThreadPoolExecutor(8) as pool:
        leases = [lease for lease in pool.map(claim_one, range(8)) if lease is not None]
    assert len(leases) == 2


def test_a_job_that_is_refused_stays_and_holds_up_what_is_behind_it(
    sessions: sessionmaker[Session],
) -> None:
    first = submit(sessions, "another")
    submit(sessions, "base")
    assert try_to_claim(sessions, accepts=lambda job: job.base_model == "base") is None
    assert job_of(sessions, first).status == "queued"
    assert claim(sessions, accepts=lambda job: job.base_model == "another").job_id == first


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
        "pause": within(lambda session: lifecycle.finish_pause(session, lease)),
    }


@pytest.mark.parametrize("write", ["renew", "checkpoint", "finish", "fail", "release", "pause"])
@pytest.mark.parametrize(
    "taken", ["by the next trainer", "after a failover", "by a cancel", "by its own finish"]
)
def test_an_owner_whose_run_is_closed_can_write_nothing(
    sessions: sessionmaker[Session], write: str, taken: str
) -> None:
    submit(sessions)
    lease = claim(sessions)
    if taken == "by the next trainer":
        let_the_lease_run_out(sessions, lease)
        claim(sessions, "another trainer")
    elif taken == "after a failover":
        lose_the_claim(sessions, lease)
        again = claim(sessions, "another trainer")
        assert (again.job_id, again.fence) == (lease.job_id, lease.fence)
        assert again.attempt != lease.attempt, "the keys of their objects differ"
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


@pytest.mark.parametrize("code", ["worker_lost", "out_of_memory"])
def test_a_job_lost_too_often_fails_with_the_reason_unless_it_made_progress(
    sessions: sessionmaker[Session], code: str
) -> None:
    job_id = submit(sessions)
    for attempt in range(LIMIT + 1):
        lease = claim(sessions, f"owner {attempt}")
        if attempt == 1:
            writes(sessions, lease)["checkpoint"]()
        with sessions.begin() as session:
            lifecycle.lose_runs_of(session, f"owner {attempt}", "The trainer burst", LIMIT, code)
        if attempt < LIMIT:
            assert job_of(sessions, job_id).status == "queued"
    job = job_of(sessions, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error["code"] == code
    assert "The trainer burst" in job.error["message"]
    assert ("Lower training.max_length" in job.error["message"]) == (code == "out_of_memory")


def lose_all_of(sessions: sessionmaker[Session], owner: str, limit: int = LIMIT) -> None:
    with sessions.begin() as session:
        lifecycle.lose_runs_of(session, owner, "The trainer burst", limit)


def test_a_trainer_lost_with_several_jobs_fails_none_and_each_is_claimed_to_be_alone(
    sessions: sessionmaker[Session],
) -> None:
    jobs = [submit(sessions) for _ in range(3)]
    for _ in jobs:
        assert not claim(sessions).alone
    lose_all_of(sessions, "a trainer", limit=1)
    assert [job_of(sessions, job_id).status for job_id in jobs] == ["queued"] * 3
    lease = claim(sessions)
    assert lease.alone
    writes(sessions, lease)["checkpoint"]()
    writes(sessions, lease)["release"]()
    assert not claim(sessions).alone


def test_a_suspect_has_to_get_past_the_step_that_its_lost_run_had_made(
    sessions: sessionmaker[Session],
) -> None:
    job_id, owner = submit(sessions), new_id("trainer-")
    lease = claim(sessions, owner)
    assert lease.step_to_pass is None
    with sessions.begin() as session:
        lifecycle.renew(session, lease, Progress("training", step=7))
    lose_all_of(sessions, owner)
    again = claim(sessions)
    assert (again.job_id, again.alone, again.step_to_pass) == (job_id, True, 7)


@pytest.mark.parametrize("found", ["by its supervisor", "by another's sweep"])
def test_a_trainer_lost_with_a_suspect_is_held_against_it_alone(
    sessions: sessionmaker[Session], found: str
) -> None:
    innocent, guilty = submit(sessions), submit(sessions)
    before, owner = new_id("trainer-"), new_id("trainer-")
    claim(sessions, before)
    claim(sessions, before)
    lose_all_of(sessions, before, limit=2)
    writes(sessions, claim(sessions, owner))["checkpoint"]()
    assert claim(sessions, owner).alone
    if found == "by its supervisor":
        lose_all_of(sessions, owner, limit=2)
    else:
        with sessions.begin() as session:
            session.execute(update(Run).values(expires_at=func.now() - timedelta(seconds=1)))
            lifecycle.lose_expired_runs(session, 2)
    assert job_of(sessions, guilty).status == "failed"
    assert (job_of(sessions, innocent).status, job_of(sessions, innocent).lost_attempts) == ("queued", 0)
    assert not claim(sessions).alone


def let_go_of_the_lease(sessions: sessionmaker[Session], lease: Lease) -> None:
    """It runs out before those of the same trainer's other jobs, and a sweep finds it alone."""
    with sessions.begin() as session:
        past = func.now() - timedelta(seconds=1)
        run = (Run.job_id == lease.job_id) & (Run.fence == lease.fence)
        session.execute(update(Run).where(run).values(expires_at=past))
        assert lifecycle.lose_expired_runs(session, 1) == [lease.job_id]


def test_a_trainer_whose_leases_run_out_one_by_one_fails_nobody_for_having_been_the_last(
    sessions: sessionmaker[Session],
) -> None:
    owner = new_id("trainer-")
    jobs = [submit(sessions) for _ in range(3)]
    for lease in [claim(sessions, owner) for _ in jobs]:
        let_go_of_the_lease(sessions, lease)
    assert [job_of(sessions, job_id).status for job_id in jobs] == ["queued"] * 3


@pytest.mark.parametrize("first", ["the suspect's", "its neighbour's"])
def test_a_suspect_is_to_blame_and_its_neighbour_is_not_whichever_lease_runs_out_first(
    sessions: sessionmaker[Session], first: str
) -> None:
    submit(sessions)
    claim(sessions, "the trainer before")
    lose_all_of(sessions, "the trainer before")
    owner = new_id("trainer-")
    suspect = claim(sessions, owner)
    submit(sessions)
    neighbour = claim(sessions, owner)
    assert (suspect.alone, neighbour.alone) == (True, False)
    in_order = [suspect, neighbour] if first == "the suspect's" else [neighbour, suspect]
    for lease in in_order:
        let_go_of_the_lease(sessions, lease)
    assert job_of(sessions, suspect.job_id).status == "failed"
    spared = job_of(sessions, neighbour.job_id)
    assert (spared.status, spared.lost_attempts) == ("queued", 0)


def test_a_suspect_is_still_to_blame_after_a_checkpoint_of_a_step_before_its_loss(
    sessions: sessionmaker[Session],
) -> None:
    guilty = submit(sessions)
    before = claim(sessions, "the trainer before")
    with sessions.begin() as session:
        lifecycle.renew(session, before, Progress("training", step=7))
    lose_all_of(sessions, "the trainer before")
    owner = new_id("trainer-")
    suspect = claim(sessions, owner)
    submit(sessions)
    neighbour = claim(sessions, owner)
    writes(sessions, suspect)["checkpoint"]()  # of step 1
    lose_all_of(sessions, owner, limit=1)
    assert job_of(sessions, guilty).status == "failed"
    spared = job_of(sessions, neighbour.job_id)
    assert (spared.status, spared.lost_attempts) == ("queued", 0)


def test_a_job_that_a_living_trainer_gives_back_is_not_blamed_however_often(
    sessions: sessionmaker[Session],
) -> None:
    job_id = submit(sessions)
    for _ in range(LIMIT):
        lease = claim(sessions)
        assert not lease.alone
        writes(sessions, lease)["release"]()
        job = job_of(sessions, job_id)
        assert (job.status, job.lost_attempts) == ("queued", 0)


def test_a_claim_repeated_with_its_token_returns_its_lease_and_claims_no_second_job(
    sessions: sessionmaker[Session],
) -> None:
    first, second = submit(sessions), submit(sessions)
    lease = claim(sessions, token="a token")
    with sessions.begin() as session:
        session.execute(update(Run).where(Run.job_id == first).values(expires_at=func.now()))
    assert claim(sessions, token="a token") == lease
    (run,) = runs_of(sessions, first)
    with sessions() as session:
        assert run.expires_at > session.scalar(select(func.now())) + timedelta(seconds=LEASE - 10)
    assert messages(sessions, first).count("Fine-tuning job started") == 1
    assert claim(sessions, "another trainer", token="a token").job_id == second
    writes(sessions, lease)["release"]()
    assert claim(sessions, token="a token").fence == 2, "a run that has ended is not taken up"


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


def change(sessions: sessionmaker[Session], verb: Any, job_id: str) -> None:
    with sessions.begin() as session:
        verb(session, session.get_one(Job, job_id))


def renew(sessions: sessionmaker[Session], lease: Lease) -> bool:
    with sessions.begin() as session:
        return lifecycle.renew(session, lease, TRAINING)


def finish_pause(sessions: sessionmaker[Session], lease: Lease) -> bool:
    with sessions.begin() as session:
        return lifecycle.finish_pause(session, lease)


def messages(sessions: sessionmaker[Session], job_id: str) -> list[str]:
    with sessions() as session:
        query = select(Event.message).where(Event.job_id == job_id).order_by(Event.sequence)
        return list(session.scalars(query))


def test_a_queued_job_pauses_at_once_and_keeps_its_place(sessions: sessionmaker[Session]) -> None:
    first, second = submit(sessions), submit(sessions)
    change(sessions, lifecycle.pause, first)
    assert job_of(sessions, first).status == "paused"
    change(sessions, lifecycle.resume, first)
    assert [claim(sessions).job_id, claim(sessions).job_id] == [first, second]


def test_a_paused_job_is_not_claimed(sessions: sessionmaker[Session]) -> None:
    change(sessions, lifecycle.pause, submit(sessions))
    assert try_to_claim(sessions) is None


def test_a_running_job_without_a_step_pauses_at_once(sessions: sessionmaker[Session]) -> None:
    job_id = submit(sessions)
    lease = claim(sessions)
    change(sessions, lifecycle.pause, job_id)
    assert job_of(sessions, job_id).status == "paused"
    assert runs_of(sessions, job_id)[0].outcome == "paused"
    with pytest.raises(LeaseLost):
        renew(sessions, lease)


def test_a_job_that_goes_on_shows_where_it_stood_and_pauses_at_once_until_it_trains(
    sessions: sessionmaker[Session],
) -> None:
    job_id = submit(sessions)
    lease = claim(sessions)
    renew(sessions, lease)
    stood = runs_of(sessions, job_id)[0]
    writes(sessions, lease)["release"]()
    lease = claim(sessions)
    shown = runs_of(sessions, job_id)[1]
    assert shown.phase == "claimed"
    for name in ("step", "total_steps", "epoch", "trained_tokens", "best_valid_loss", "best_step"):
        assert getattr(shown, name) == getattr(stood, name) == getattr(lease.last_progress, name)
    assert shown.tokens_per_second is shown.seconds_left is None
    change(sessions, lifecycle.pause, job_id)
    assert job_of(sessions, job_id).status == "paused"


def test_a_running_job_pauses_when_its_trainer_has_read_the_request_and_saved(
    sessions: sessionmaker[Session],
) -> None:
    job_id = submit(sessions)
    lease = claim(sessions)
    assert renew(sessions, lease) is False
    for _ in range(2):  # a client that asks again changes nothing
        change(sessions, lifecycle.pause, job_id)
    assert job_of(sessions, job_id).status == "running"
    assert renew(sessions, lease) is True
    writes(sessions, lease)["checkpoint"]()
    assert finish_pause(sessions, lease) is True
    assert job_of(sessions, job_id).status == "paused"
    assert [run.outcome for run in runs_of(sessions, job_id)] == ["paused"]
    log = messages(sessions, job_id)
    assert log.count("The job will be paused once its trainer has saved a checkpoint") == 1
    assert log[-1] == "The job was paused"
    change(sessions, lifecycle.resume, job_id)
    again = claim(sessions, "another trainer")
    assert (again.job_id, again.fence) == (job_id, 2)
    assert renew(sessions, again) is False, "the request belonged to the run that it ended"


def test_a_request_to_pause_can_be_taken_back(sessions: sessionmaker[Session]) -> None:
    job_id = submit(sessions)
    lease = claim(sessions)
    renew(sessions, lease)
    change(sessions, lifecycle.pause, job_id)
    change(sessions, lifecycle.resume, job_id)
    assert finish_pause(sessions, lease) is False
    assert renew(sessions, lease) is False
    assert job_of(sessions, job_id).status == "running"


@pytest.mark.parametrize("end", ["lost", "released"])
def test_a_job_whose_trainer_is_gone_before_the_pause_is_paused_all_the_same(
    sessions: sessionmaker[Session], end: str
) -> None:
    job_id = submit(sessions)
    lease = claim(sessions)
    renew(sessions, lease)
    change(sessions, lifecycle.pause, job_id)
    if end == "lost":
        let_the_lease_run_out(sessions, lease)
    else:
        writes(sessions, lease)["release"]()
    assert job_of(sessions, job_id).status == "paused"
    assert runs_of(sessions, job_id)[0].outcome == end
    assert messages(sessions, job_id)[-1] == "The job was paused"


def test_a_job_that_finishes_before_its_pause_has_succeeded(sessions: sessionmaker[Session]) -> None:
    job_id = submit(sessions)
    lease = claim(sessions)
    renew(sessions, lease)
    change(sessions, lifecycle.pause, job_id)
    finish(sessions, lease)
    assert job_of(sessions, job_id).status == "succeeded"


def test_a_paused_job_can_be_cancelled(sessions: sessionmaker[Session]) -> None:
    job_id = submit(sessions)
    change(sessions, lifecycle.pause, job_id)
    change(sessions, lifecycle.cancel, job_id)
    assert job_of(sessions, job_id).status == "cancelled"


@pytest.mark.parametrize("ended", ["paused", "cancelled", "succeeded"])
def test_a_job_that_is_not_active_cannot_be_paused(sessions: sessionmaker[Session], ended: str) -> None:
    job_id = submit(sessions)
    if ended == "succeeded":
        finish(sessions, claim(sessions))
    else:
        change(sessions, lifecycle.pause if ended == "paused" else lifecycle.cancel, job_id)
    with pytest.raises(InvalidRequest, match=f"(is|has already|has already been) {ended}; only"):
        change(sessions, lifecycle.pause, job_id)


@pytest.mark.parametrize("status", ["queued", "running", "cancelled"])
def test_only_a_paused_job_can_be_resumed(sessions: sessionmaker[Session], status: str) -> None:
    job_id = submit(sessions)
    if status == "running":
        claim(sessions)
    elif status == "cancelled":
        change(sessions, lifecycle.cancel, job_id)
    with pytest.raises(InvalidRequest, match="only a paused job can be resumed"):
        change(sessions, lifecycle.resume, job_id)
    assert job_of(sessions, job_id).status == status


def test_an_event_written_twice_stands_once(sessions: sessionmaker[Session]) -> None:
    job_id, event_id = submit(sessions), new_id("ftevent-")
    for _ in range(2):
        with sessions.begin() as session:
            record_event(session, job_id, "once", event_id=event_id)
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
            assert cancelling.wait(120)
            wait_for_a_blocked_session(sessions)
            record_event(heartbeat, lease.job_id, "a step")
        cancelled.result(10)
    assert job_of(sessions, lease.job_id).status == "cancelled"


def test_an_event_from_outside_does_not_commit_before_a_heartbeats_with_a_lower_number(
    sessions: sessionmaker[Session],
) -> None:
    """Else who has read it would never be told of the lower one."""
    submit(sessions)
    lease = claim(sessions)

    def say() -> None:
        with sessions.begin() as session:
            lifecycle.record_outside_event(session, lease.job_id, "from outside")

    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as heartbeat:
            lifecycle.renew(heartbeat, lease, TRAINING)
            record_event(heartbeat, lease.job_id, "a step")
            said = pool.submit(say)
            wait_for_a_blocked_session(sessions)
        said.result(10)
    with sessions() as session:
        query = select(Event.message).where(Event.job_id == lease.job_id).order_by(Event.sequence)
        assert list(session.scalars(query))[-2:] == ["a step", "from outside"]


def test_a_process_frozen_in_its_claim_stops_neither_other_claims_nor_a_cancel(
    sessions: sessionmaker[Session], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends its session: it would hold the lock of the claims, and the job's row."""
    assert database.IDLE_IN_TRANSACTION_TIMEOUT < database.STATEMENT_TIMEOUT, "or who waits gives up first"
    monkeypatch.setattr(database, "IDLE_IN_TRANSACTION_TIMEOUT", 1)
    engine = create_database(database_url)
    first, _second = submit(sessions), submit(sessions)
    with ThreadPoolExecutor(2) as pool, Session(engine) as frozen:
        held = lifecycle.claim(frozen, "a frozen trainer", LEASE)
        assert held is not None
        assert held.job_id == first
        claimed = pool.submit(claim, sessions)
        cancelled = pool.submit(change, sessions, lifecycle.cancel, first)
        claimed.result(15)
        cancelled.result(15)
        with pytest.raises(DBAPIError) as thawed:
            frozen.commit()
    engine.dispose()
    assert thawed.value.connection_invalidated, "the trainer tries again after a lost connection alone"
    assert job_of(sessions, first).status == "cancelled"


def wait_for_a_blocked_session(sessions: sessionmaker[Session]) -> None:
    blocked = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def is_blocked() -> bool:
        with sessions() as session:
            return bool(session.connection().exec_driver_sql(blocked).scalar())

    wait_for(is_blocked)
