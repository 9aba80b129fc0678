"""The life of a job: the only writer of `Job.status` and of `Run`.

    submit ─► queued ─claim─► running ─finish─► succeeded
                ▲ ▲            │   └─────fail─► failed
                │ └lose,release┤
                │              ▼ pause
                └──resume─── paused

A queued job can be paused too, and a queued, running or paused one cancelled. One that has ended can be
deleted, which changes no status.

Every function works inside the caller's transaction and never commits. A worker's write carries the job's
id and fence; where they no longer name an open run, it raises LeaseLost and nothing is written. All times
are the database's. Locks are taken in one order: the job, then its run; the job's is one that lets events be
added meanwhile (FOR NO KEY UPDATE), since a heartbeat holds the run and adds events. With a job's end its
webhooks are written, to be sent later (`core/webhooks.py`).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Unpack

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core import webhooks
from core.errors import InvalidRequest, JobError, LeaseLost
from core.jobs import queue
from core.jobs.events import EventOptions, record_event, record_messages
from core.jobs.suspects import companies, trial_step
from core.statuses import ENDED
from core.strict_json import storable
from core.tables import Adapter, Checkpoint, File, Job, Project, Run, Tracker
from core.tables.jobs import MODEL_ID_LENGTH

TRANSITIONS = {
    "queued": {"running", "paused", "failed", "cancelled"},
    "running": {"queued", "paused", "succeeded", "failed", "cancelled"},
    "paused": {"queued", "cancelled"},
    "succeeded": set[str](),
    "failed": set[str](),
    "cancelled": set[str](),
}

# Phases of a run that has neither taken up a checkpoint nor made a step.
CLAIMED, PREPARING, READING_DATA = BEFORE_TRAINING = ("claimed", "preparing", "reading data")


@dataclass(frozen=True)
class Progress:
    """Where a run stands. Rates are logical tokens per second; `epoch` counts fractions.

    `best_valid_loss` is the lowest on all validation rows that the job has had, of `best_step`.
    """

    phase: str
    step: int = 0
    total_steps: int | None = None
    epoch: float = 0.0
    tokens_per_second: float | None = None
    trained_tokens: int = 0
    seconds_left: float | None = None
    best_valid_loss: float | None = None
    best_step: int | None = None


NO_PROGRESS = Progress(CLAIMED)


@dataclass(frozen=True)
class Lease:
    """The right to work on a job, as long as `fence` is current and the run is open."""

    job_id: str
    fence: int
    seconds: float
    last_progress: Progress = NO_PROGRESS
    """Where the job's run before this one stood."""
    trial_step: int | None = None
    """Of a suspect, which has to get past it alone: see `core/jobs/suspects.py`."""

    @property
    def alone(self) -> bool:
        """Whether nobody may compute beside the job before its next checkpoint."""
        return self.trial_step is not None


def submit(session: Session, job: Job) -> None:
    """Add a new job, queued, with its first events."""
    job.status = "queued"
    session.add(job)
    session.flush()
    session.add_all(Tracker(job_id=job.id, type=asked["type"]) for asked in job.integrations)
    first = f"Created fine-tuning job: {job.id}", "Files validated, moving job to queued state"
    record_messages(session, job.id, *first)


def claim(
    session: Session,
    owner: str,
    lease_seconds: float,
    *,
    project_jobs: int | None = None,
    devices: int = 1,
    accepts: Callable[[Job], bool] = lambda _job: True,
    passed_over: Collection[str] = (),
) -> Lease | None:
    """Take the next job of a device class. None where nothing waits, or where `accepts` refuses that job.

    `core.jobs.queue.claimable` has the order and the cap of `project_jobs`. A refused job holds up the jobs
    behind it, so that small or like jobs cannot overtake it for ever. The jobs in `passed_over`, by their
    ids, hold up nothing: another worker may be able to train them.
    """
    queue.wait_for_other_claims(session)
    job = queue.next_job(session, project_jobs, devices, passed_over)
    if job is None or not accepts(job):
        return None
    progress = _last_progress(session, job)
    lease = Lease(job.id, job.fence + 1, lease_seconds, progress, trial_step(session, job))
    job.fence = lease.fence
    _move(session, job, "running")
    if job.started_at is None:
        job.started_at = func.now()
    session.flush()
    expires_at = _from_now(lease_seconds)
    session.add(
        Run(
            job_id=job.id,
            fence=lease.fence,
            owner=owner,
            alone=lease.alone,
            expires_at=expires_at,
            **vars(progress),
        )
    )
    message = (
        "Fine-tuning job started"
        if job.fence == 1
        else f"Fine-tuning job started again (attempt {job.fence})"
    )
    record_event(session, job.id, message)
    return lease


def renew(session: Session, lease: Lease, progress: Progress) -> bool:
    """Prolong the lease and write the run's progress. Returns whether to pause. Raises LeaseLost.

    Touches the run alone, never the job's row: heartbeats stay out of the queue.
    """
    renewed = session.execute(
        update(Run)
        .where(*_open_run(lease))
        .values(expires_at=_from_now(lease.seconds), **vars(progress))
        .returning(Run.pause_requested_at)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if renewed is None:
        raise LeaseLost(f"{lease.job_id}: fence {lease.fence} is not the owner any more")
    return renewed.pause_requested_at is not None


def owned_job(session: Session, lease: Lease) -> Job:
    """The job, locked until the transaction ends. Raises LeaseLost."""
    job = session.scalars(
        select(Job)
        .join(Run, (Run.job_id == Job.id) & (Run.fence == Job.fence))
        .where(*_open_run(lease), Job.status == "running")
        .with_for_update(key_share=True)
    ).one_or_none()
    if job is None:
        raise LeaseLost(f"{lease.job_id}: fence {lease.fence} is not the owner any more")
    return job


def record_checkpoint(session: Session, lease: Lease, checkpoint: Checkpoint) -> None:
    """Commit an uploaded checkpoint; tell of one that clients get. Progress was made, so lost trainers are
    forgiven. Raises LeaseLost.

    Doing it twice, after a commit whose answer was lost, changes nothing.
    """
    job = owned_job(session, lease)
    job.lost_attempts = 0
    session.merge(checkpoint)
    if checkpoint.listed:
        event_id = checkpoint.id.replace("ftckpt-", "ftevent-")
        record_event(session, job.id, f"Checkpoint saved at step {checkpoint.step}", event_id=event_id)


def finish(
    session: Session,
    lease: Lease,
    adapter: Adapter,
    result: File,
    trained_tokens: int,
    spec: dict[str, Any] | None = None,
) -> None:
    """The job's commit point: adapter, result file, status and event in one. Raises LeaseLost.

    `spec` is what was left of several candidates; without one, it is what the job began with.
    """
    job = owned_job(session, lease)
    job.spec = spec or job.spec
    session.add_all([adapter, result])
    session.flush()
    job.fine_tuned_model = fine_tuned_model_name(session, job)
    job.result_file_id = result.id
    job.trained_tokens = trained_tokens
    job.finished_at = func.now()
    _move(session, job, "succeeded")
    _end_run(session, job, "succeeded")
    last = f"New fine-tuned model created: {job.fine_tuned_model}", "The job has successfully completed"
    record_messages(session, job.id, *last)


def fail(session: Session, lease: Lease, error: JobError) -> None:
    """End the job with an error that its client can act on. Raises LeaseLost."""
    _fail(session, owned_job(session, lease), "failed", error)


def release(session: Session, lease: Lease, reason: str) -> None:
    """Give an unfinished job back, without blame: the worker shuts down. Raises LeaseLost."""
    job = owned_job(session, lease)
    _give_back(session, job, "released", f"{reason}; the job waits for a worker")


def cancel(session: Session, job: Job) -> None:
    """Cancel a job that has not ended, at once: its worker finds its lease gone at the next look.

    Raises InvalidRequest where the job has ended.
    """
    session.refresh(job, with_for_update={"key_share": True})
    if "cancelled" not in TRANSITIONS[job.status]:
        raise _refusal(job, "only a queued, running or paused job can be cancelled", "job_not_cancellable")
    job.finished_at = func.now()
    _move(session, job, "cancelled")
    _end_run(session, job, "cancelled")
    record_event(session, job.id, "The job was cancelled")


def delete(session: Session, job: Job) -> None:
    """Hide an ended job from everybody. The janitor removes its objects (`worker/supervise/cleanup.py`).

    Raises InvalidRequest where the job has not ended.
    """
    session.refresh(job, with_for_update={"key_share": True})
    if job.status not in ENDED:
        raise _refusal(job, "cancel it first: only a job that has ended can be deleted", "job_not_deletable")
    job.deleted_at = func.now()
    job.cleaned_at = None  # of what only its end had left behind


def pause(session: Session, job: Job) -> None:
    """Pause a job at once whose run has made nothing yet; else ask its trainer to (see `finish_pause`).

    Closing such a run loses nothing, whatever its trainer is busy with. Asking twice changes nothing. Raises
    InvalidRequest where the job has ended or is paused.
    """
    session.refresh(job, with_for_update={"key_share": True})
    if "paused" not in TRANSITIONS[job.status]:
        raise _refusal(job, "only a queued or running job can be paused", "job_not_pausable")
    run = _open_run_of(session, job)
    if run is None or run.step == 0 or run.phase in BEFORE_TRAINING:
        _pause(session, job, "paused")
    elif run.pause_requested_at is None:
        run.pause_requested_at = func.now()
        record_event(session, job.id, "The job will be paused once its trainer has saved a checkpoint")


def finish_pause(session: Session, lease: Lease) -> bool:
    """Carry out a requested pause, after the checkpoint. Raises LeaseLost.

    False, and nothing is written, where the request was taken back meanwhile.
    """
    job = owned_job(session, lease)
    if not _pause_is_requested(session, job):
        return False
    _pause(session, job, "paused")
    return True


def resume(session: Session, job: Job) -> None:
    """Put a paused job back into the queue, in its old place; or take back a pause that is still a request.

    Raises InvalidRequest where there is no pause to end.
    """
    session.refresh(job, with_for_update={"key_share": True})
    if job.status == "running" and _pause_is_requested(session, job):
        run = _open_run_of(session, job)
        assert run is not None
        run.pause_requested_at = None
        record_event(session, job.id, "The request to pause was taken back")
        return
    if job.status != "paused":
        raise _refusal(job, "only a paused job can be resumed", "job_not_resumable")
    _move(session, job, "queued")
    record_event(session, job.id, "The job was resumed and waits for a worker")


def lose(session: Session, lease: Lease, reason: str, max_lost_attempts: int) -> list[str]:
    """Requeue a job that this trainer, which lives, cannot go on with, for want of a server, say.

    It counts like a lost trainer, but throws no suspicion on the job.
    """
    condition = (Run.job_id == lease.job_id) & (Run.fence == lease.fence)
    runs = _held_runs(session, condition)
    for job, _ in runs:
        _count_loss(session, job, "released", reason, max_lost_attempts)
    return [job.id for job, _ in runs]


def lose_runs_of(session: Session, owner: str, reason: str, max_lost_attempts: int) -> list[str]:
    """Requeue what a dead trainer held, saying why it died. Returns the jobs' ids."""
    return _lose(session, Run.owner == owner, reason, max_lost_attempts)


def release_runs_of(session: Session, owner: str, reason: str) -> list[str]:
    """Requeue, without blame, what a trainer held that was stopped on purpose. Returns the jobs' ids."""
    runs = _held_runs(session, Run.owner == owner)
    for job, _ in runs:
        _give_back(session, job, "released", f"{reason}; the job will go on from its last checkpoint")
    return [job.id for job, _ in runs]


def lose_expired_runs(session: Session, max_lost_attempts: int) -> list[str]:
    """Requeue jobs whose trainer has not renewed its lease. Returns their ids."""
    return _lose(session, Run.expires_at < func.now(), "The trainer stopped answering", max_lost_attempts)


def holds_a_run(session: Session, owner: str) -> bool:
    """Whether the trainer `owner` holds a job."""
    open_runs = select(Run.job_id).where(Run.owner == owner, Run.ended_at.is_(None)).limit(1)
    return session.scalars(open_runs).first() is not None


def record_outside_event(
    session: Session, job_id: str, message: str, event_id: str | None = None, **options: Unpack[EventOptions]
) -> None:
    """`record_event` by one who does not hold the job: waits until nobody else writes its events."""
    job = session.get_one(Job, job_id, with_for_update={"key_share": True}, populate_existing=True)
    _open_run_of(session, job)
    record_event(session, job_id, message, event_id=event_id, **options)


def fine_tuned_model_name(session: Session, job: Job) -> str:
    """ft:BASE:PROJECT:SUFFIX:ID, as OpenAI names them."""
    project = session.get_one(Project, job.project_id)
    return f"ft:{job.base_model}:{project.name}:{job.suffix or ''}:{job.id[-MODEL_ID_LENGTH:]}"


def _last_progress(session: Session, job: Job) -> Progress:
    """What a job that goes on shows until its trainer has taken up a checkpoint."""
    last = session.get(Run, (job.id, job.fence))
    if last is None:
        return NO_PROGRESS
    kept = ("step", "total_steps", "epoch", "trained_tokens", "best_valid_loss", "best_step")
    return replace(NO_PROGRESS, **{name: getattr(last, name) for name in kept})


def _lose(session: Session, condition: Any, reason: str, max_lost_attempts: int) -> list[str]:
    """Requeue the jobs of lost trainers, and count the loss where it may be the job's doing.

    Without proof that it was, nobody fails: all that may have been become suspects (`core/jobs/suspects.py`).
    """
    runs = _held_runs(session, condition)
    held = companies(session, {owner for _, owner in runs})
    for job, owner in runs:
        if held[owner].may_blame(job.id):
            _count_loss(session, job, "lost", reason, max_lost_attempts if held[owner].proves else None)
        else:
            _give_back(session, job, "lost", f"{reason}; the job will go on from its last checkpoint")
    return [job.id for job, _ in runs]


def _held_runs(session: Session, condition: Any) -> list[tuple[Job, str]]:
    """Running jobs with their runs' owners, locked. What is being changed is passed over."""
    rows = session.execute(
        select(Job, Run.owner)
        .join(Run, (Run.job_id == Job.id) & (Run.fence == Job.fence))
        .where(Run.ended_at.is_(None), Job.status == "running", condition)
        .with_for_update(skip_locked=True, key_share=True)
    )
    return [(job, owner) for job, owner in rows]


def _count_loss(session: Session, job: Job, outcome: str, reason: str, max_lost_attempts: int | None) -> None:
    """Requeue, or fail a job that has been lost `max_lost_attempts` times; None fails nobody."""
    job.lost_attempts += 1
    if max_lost_attempts is not None and job.lost_attempts >= max_lost_attempts:
        message = f"{reason}, {job.lost_attempts} times in a row without a checkpoint in between."
        _fail(session, job, outcome, JobError("worker_lost", message))
        return
    alone = ", alone until it has made another" if outcome == "lost" else ""
    _give_back(session, job, outcome, f"{reason}; the job will go on from its last checkpoint{alone}")


def _fail(session: Session, job: Job, outcome: str, error: JobError) -> None:
    job.error = {"code": error.code, "message": storable(error.message), "param": error.param}
    job.finished_at = func.now()
    _move(session, job, "failed")
    _end_run(session, job, outcome)
    record_event(
        session, job.id, f"The job failed: {error.message}", level="error", data={"code": error.code}
    )


def _give_back(session: Session, job: Job, outcome: str, message: str) -> None:
    """To the queue, or to `paused` where that was asked for: the request outlives its trainer."""
    record_event(session, job.id, message, level="warn")
    if _pause_is_requested(session, job):
        _pause(session, job, outcome)
        return
    _move(session, job, "queued")
    _end_run(session, job, outcome)


def _pause(session: Session, job: Job, outcome: str) -> None:
    _move(session, job, "paused")
    _end_run(session, job, outcome)
    record_event(session, job.id, "The job was paused")


def _refusal(job: Job, rule: str, code: str) -> InvalidRequest:
    states = {"succeeded": "has already succeeded", "failed": "has already failed"}
    states |= {"cancelled": "has already been cancelled", "paused": "is already paused"}
    state = states.get(job.status, f"is {job.status}")
    return InvalidRequest(f"Job {job.id} {state}; {rule}.", code=code)


def _move(session: Session, job: Job, status: str) -> None:
    if status not in TRANSITIONS[job.status]:
        raise AssertionError(f"{job.id}: no way leads from {job.status} to {status}")
    job.status = status
    if status in ENDED:
        webhooks.announce_end(session, job)


def _end_run(session: Session, job: Job, outcome: str) -> None:
    session.execute(
        update(Run)
        .where(Run.job_id == job.id, Run.ended_at.is_(None))
        .values(ended_at=func.now(), outcome=outcome, seconds_left=None)
    )


def _open_run_of(session: Session, job: Job) -> Run | None:
    """Locked; the job is locked beforehand."""
    query = select(Run).where(Run.job_id == job.id, Run.ended_at.is_(None))
    return session.scalars(query.with_for_update().execution_options(populate_existing=True)).one_or_none()


def _pause_is_requested(session: Session, job: Job) -> bool:
    run = _open_run_of(session, job)
    return run is not None and run.pause_requested_at is not None


def _open_run(lease: Lease) -> tuple[Any, ...]:
    return Run.job_id == lease.job_id, Run.fence == lease.fence, Run.ended_at.is_(None)


def _from_now(seconds: float) -> Any:
    return func.now() + timedelta(seconds=seconds)
