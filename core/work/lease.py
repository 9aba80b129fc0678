"""The writes of the process that does a task: it takes the task, renews its lease, and ends it.

Each write names the holder and the fence. If they are no longer those of a running task, it raises
TaskLeaseLost and writes nothing: the task was cancelled, or another process has it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    ScalarSelect,
    Select,
    Text,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session, aliased

from core import artifacts
from core.artifacts import Owner
from core.database import from_now
from core.errors import JobError, TuneryError
from core.storage.object_store import task_prefix
from core.strict_json import storable
from core.tables import Adapter, File, Task
from core.work.kinds import KINDS, Kind, kind_of, names_in

LEASE_SECONDS = 30.0
START_SECONDS = 600.0  # of a lease at first: beside a training, the imports of a process take minutes
MOST_WAIT = timedelta(hours=6)  # of a task that nobody has asked for, until it runs beside a training too
DIED = "the process died or hung"
STARTING = "starting"  # the phase of a process that has said nothing yet


class TaskLeaseLost(TuneryError):
    """The task was cancelled, or another process has it; this process stops and writes nothing."""


@dataclass(frozen=True)
class TaskLease:
    """The right to do a task."""

    task_id: str
    fence: int
    holder: str

    @property
    def kind(self) -> Kind:
        """The kind of the task."""
        return kind_of(self.task_id)

    @property
    def attempt(self) -> str:
        """The part of an object key that no other lease has."""
        return f"{self.fence}-{self.holder}"

    @property
    def prefix(self) -> str:
        """The prefix of the files that are made under this lease. Their artifact is open while it lasts."""
        return task_prefix(self.kind.name, self.task_id, self.attempt)


def take(
    session: Session, holder: str, kinds: Collection[str] = tuple(KINDS), *, beside_training: bool = False
) -> TaskLease | None:
    """Take the next task: of the project with the fewest running tasks, the oldest one.

    Among projects with as few, the one that was served longest ago goes first. A task whose process died or
    hung is taken again, and fails when its kind allows no further loss. `kinds` are those that the caller can
    do, and only tasks of these kinds count. `beside_training` leaves out those that wait for the end of a
    training. None is returned if nothing waits, or if this call ended a task that was lost too often.
    """
    _wait_for_other_takes(session, kinds)
    task = session.scalars(_next_task(tuple(kinds), beside_training)).one_or_none()
    if task is None:
        return None
    if task.status == "running" and not _survives_a_loss(session, task, DIED):
        return None
    if task.status == "running" and KINDS[task.kind].delays:
        _requeue(task, _after_loss(task))
        return None
    task.status, task.fence, task.phase = "running", task.fence + 1, STARTING
    task.holder, task.held_until = holder, from_now(START_SECONDS)
    task.started_at = task.started_at or func.now()
    lease = TaskLease(task.id, task.fence, holder)
    artifacts.open(session, Owner("task", task.id), lease.prefix, task.project_id)
    return lease


def waiting_kinds(session: Session) -> set[str]:
    """Return the kinds of the tasks that may be taken now, but for what a take alone finds out.

    Kinds whose tasks wait for something else are left out: see `ready_kinds`. It takes no lock and reads a
    few rows, however many tasks are open: every worker asks every second, most often when nothing waits.
    """
    return set(session.scalars(WAITING_KINDS))


def ready_kinds(session: Session) -> set[str]:
    """Return the kinds whose tasks wait for something else, such as a job's start, if that has happened.

    It may read all open tasks of these kinds, so workers ask it rarely.
    """
    return {name for name, query in READY_KINDS.items() if session.scalar(query)}


def free(session: Session, holder: str, *, counts: bool) -> None:
    """Put the task that a dead process has into the queue at once. `counts` says whether it is a loss."""
    held = select(Task).where(Task.holder == holder, Task.status == "running").with_for_update()
    task = session.scalars(held).one_or_none()
    if task is not None and (not counts or _survives_a_loss(session, task, DIED)):
        _requeue(task, _after_loss(task) if counts else None)


def holding(session: Session, holders: Collection[str]) -> set[str | None]:
    """Return those of `holders` that still have their task."""
    held = select(Task.holder).where(
        Task.holder.in_(holders), Task.status == "running", Task.held_until > func.now()
    )
    return set(session.scalars(held))


def other_projects_wait(session: Session, task: Task) -> bool:
    """Return whether a task of the same class waits that belongs to a project without a running one."""
    kinds = names_in(KINDS[task.kind].task_class)
    waits = Task.finished_at.is_(None) & (Task.status == "queued") & Task.kind.in_(kinds)
    others = Task.project_id != task.project_id, running_of_project(kinds) == 0
    found = select(Task.id).where(waits, _is_due(), *others)
    return session.scalars(found.limit(1)).one_or_none() is not None


def waits_for_training(session: Session, task_id: str) -> bool:
    """Return whether the task goes on only once no job trains on its machine's CPU."""
    found = select(Task.id).where(Task.id == task_id, _waits_for_training())
    return session.scalars(found).one_or_none() is not None


def renew(session: Session, lease: TaskLease, phase: str, done: float) -> None:
    """Extend the lease, and write what the process is doing. Raises TaskLeaseLost."""
    renewed = session.execute(
        update(Task)
        .where(*_is_held(lease))
        .values(held_until=from_now(LEASE_SECONDS), phase=phase, done=done)
        .returning(Task.id)
    ).one_or_none()
    if renewed is None:
        raise _lost(lease)


def announce(session: Session, lease: TaskLease, size: int) -> None:
    """Let the files of this attempt count before they are sent. Raises TaskLeaseLost."""
    task = _held(session, lease)
    artifacts.count_alone(session, Owner("task", task.id), lease.prefix, size)


def keep(
    session: Session,
    lease: TaskLease,
    prefix: str,
    files: list[dict[str, Any]],
    report: dict[str, Any],
    days: int | None,
) -> None:
    """Write the files that the task has made, before it has ended. Raises TaskLeaseLost.

    They are kept for `days`, or until a client deletes them, however the task ends.
    """
    task = _held(session, lease)
    task.object_prefix, task.files, task.report = prefix, files, report
    task.bytes = _size(files)
    task.expires_at = None if days is None else func.now() + timedelta(days=days)
    artifacts.keep(session, prefix, task.bytes)


def finish(
    session: Session, lease: TaskLease, report: dict[str, Any], made: Adapter | File | None = None
) -> None:
    """Write that the task has succeeded, and its report. Raises TaskLeaseLost.

    If the task has `made` an adapter or a file, it exists from this commit on.
    """
    task = _held(session, lease)
    if made is not None:
        session.add(made)
        session.flush()
    if isinstance(made, Adapter):
        task.adapter_id = made.id
        artifacts.keep(session, lease.prefix, _size(made.files), Owner("adapter", made.id))
    elif made is not None:
        task.made_file_id = made.id
        artifacts.keep(session, lease.prefix, made.bytes, Owner("file", made.id))
    end(session, task, "succeeded")
    task.report, task.done = report, 1.0
    artifacts.hold(session, Owner("task", task.id), task.project_id, task.request, report)


def fail(session: Session, lease: TaskLease, error: JobError) -> None:
    """Write why the task cannot be done. Raises TaskLeaseLost."""
    task = _held(session, lease)
    end(session, task, "failed", error=error)
    lease.kind.tell(session, task, error.message, True)


def lose(session: Session, lease: TaskLease, reason: str) -> None:
    """Count a try that has failed as a loss, and let another process try again. Raises TaskLeaseLost."""
    task = _held(session, lease)
    if _survives_a_loss(session, task, reason):
        _requeue(task, _after_loss(task))


def note(session: Session, lease: TaskLease, report: dict[str, Any]) -> None:
    """Write what a task has reached, from which another process can go on. Raises TaskLeaseLost.

    Only losses in a row count, so there are none any more.
    """
    task = _held(session, lease)
    task.report, task.losses = report, 0


def release(session: Session, lease: TaskLease, delay: float) -> None:
    """Put the task back into the queue, to be taken after `delay` seconds, and count no loss.

    Raises TaskLeaseLost.
    """
    _requeue(_held(session, lease), from_now(delay))


def _wait_for_other_takes(session: Session, kinds: Collection[str]) -> None:
    """Wait until nobody else takes tasks of these kinds, so that each take sees what the others have taken.

    The lock ends with the transaction.
    """
    name = f"take:{','.join(sorted(kinds))}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


@cache  # workers ask every second, and to build it takes longer than to ask
def _next_task(kinds: tuple[str, ...], beside_training: bool) -> Select[Task]:
    """Return the query for the next task of these kinds, locked."""
    other = aliased(Task)
    served = select(func.max(func.greatest(other.started_at, other.held_until))).where(
        other.project_id == Task.project_id, other.kind.in_(kinds)
    )
    ready = _are_ready(kinds)
    alone = [kind for kind in kinds if KINDS[kind].one_of_project]
    ready += [or_(Task.kind != kind, running_of_project((kind,)) == 0) for kind in alone]
    if beside_training:
        ready.append(~_waits_for_training())
    return (
        select(Task)
        .where(Task.finished_at.is_(None), Task.kind.in_(kinds), _is_due(), *ready)
        .order_by(_is_unasked(), running_of_project(kinds), served.scalar_subquery().nulls_first(), Task.id)
        .limit(1)
        .with_for_update(of=Task, skip_locked=True)
    )


def _is_due() -> ColumnElement[bool]:
    """Return the condition that a task has no holder, or one whose lease has ended."""
    return or_(Task.held_until.is_(None), Task.held_until <= func.now())


def _are_ready(kinds: Collection[str]) -> list[ColumnElement[bool]]:
    """Return the conditions of those kinds that wait for something else, such as the start of a job."""
    return [
        or_(Task.kind != kind.name, kind.is_ready())
        for kind in map(KINDS.__getitem__, kinds)
        if kind.is_ready is not None
    ]


def _is_unasked() -> ColumnElement[bool]:
    kinds = [kind.name for kind in KINDS.values() if kind.last_if_from_job]
    return Task.started_by_job & Task.kind.in_(kinds)


def _waits_for_training() -> ColumnElement[bool]:
    return _is_unasked() & (Task.created_at > func.now() - MOST_WAIT)


def running_of_project(kinds: Collection[str]) -> ScalarSelect[int]:
    """Return the number of running tasks of these kinds that the project of a row of Task has."""
    other = aliased(Task)
    # An index has the tasks that have not ended
    running = other.status == "running", other.finished_at.is_(None), other.held_until > func.now()
    own = other.project_id == Task.project_id, other.kind.in_(kinds)
    return select(func.count()).where(*own, *running).scalar_subquery()


def has_had_its_tries(session: Session, lease: TaskLease) -> bool:
    """Return whether the task has failed often enough, for long enough, to be given up. Raises TaskLeaseLost.

    The fence also counts the processes that gave way or were restarted. So it alone would give up a long
    task at its first fault, and the age alone would do so too.
    """
    is_old = select(Task.created_at < func.now() - lease.kind.max_age).where(Task.id == lease.task_id)
    return _held(session, lease).fence >= lease.kind.max_tries and session.scalars(is_old).one()


def _requeue(task: Task, not_before: Any) -> None:
    """Let another process take the task, at once or not before a time."""
    task.status, task.holder, task.held_until, task.phase = "queued", None, not_before, None


def _after_loss(task: Task) -> Any:
    """Return the time before which nobody takes a task that was just lost, or None."""
    delays = KINDS[task.kind].delays
    return from_now(delays[task.losses - 1]) if delays else None


def _survives_a_loss(session: Session, task: Task, why: str) -> bool:
    """Count a try that was lost with the task. Return False if it was the last one, and end the task."""
    kind = KINDS[task.kind]
    task.losses += 1
    if task.losses < kind.max_losses:
        kind.tell(session, task, why, False)
        return True
    kind.tell(session, task, f"{why}, {task.losses} times in a row", True)
    last = f" The last phase was: {task.phase}." if task.phase else ""
    reason = f"{task.losses} processes in a row died or hung while they did this.{last}"
    end(session, task, "failed", error=JobError("worker_lost", reason))
    return False


def end(session: Session, task: Task, status: str, *, error: JobError | None = None) -> None:
    """End a task that the caller has locked. One without files is shown for a while."""
    if task.status == "running":
        task.held_until = func.now()  # its project was served until now
    task.status, task.finished_at, task.phase = status, func.now(), None
    if task.object_prefix is None:
        task.expires_at = func.now() + timedelta(days=KINDS[task.kind].days_shown)
    if error is not None:
        task.error = {"code": error.code, "message": storable(error.message), "param": error.param}
    artifacts.doom(session, artifacts.of("task", [task.id]), artifacts.WRITING, grace=artifacts.GRACE)


def _size(files: list[dict[str, Any]]) -> int:
    return sum(file["bytes"] for file in files)


def _held(session: Session, lease: TaskLease) -> Task:
    held = select(Task).where(*_is_held(lease)).with_for_update()
    task = session.scalars(held.execution_options(populate_existing=True)).one_or_none()
    if task is None:
        raise _lost(lease)
    return task


def _is_held(lease: TaskLease) -> tuple[Any, ...]:
    same = Task.id == lease.task_id, Task.fence == lease.fence, Task.holder == lease.holder
    return *same, Task.status == "running"


def _lost(lease: TaskLease) -> TaskLeaseLost:
    return TaskLeaseLost(f"{lease.task_id}: the lease {lease.attempt} does not own the task any more")


def _waiting_kinds() -> Select[str]:
    """Return the query for the kinds of due tasks. It reads one task of each kind.

    An index has the tasks of a kind in this order. (Two EXISTS would be computed from all open tasks.)
    """
    kinds = [name for name, kind in KINDS.items() if kind.is_ready is None]
    kind = func.unnest(literal(kinds, ARRAY(Text))).table_valued("name").render_derived("kind")
    open_tasks = select(Task.held_until).where(Task.kind == kind.c.name, Task.finished_at.is_(None))
    first = open_tasks.order_by(Task.held_until.nulls_first()).limit(1).lateral("first")
    is_due = or_(first.c.held_until.is_(None), first.c.held_until <= func.now())
    return select(kind.c.name).join(first, true()).where(is_due)


def _ready_kind(kind: Kind) -> Select[bool]:
    of_kind = Task.kind == kind.name, Task.finished_at.is_(None), _is_due(), *_are_ready([kind.name])
    return select(select(Task.id).where(*of_kind).exists())


# Built once: to build them takes longer than to run them.
WAITING_KINDS = _waiting_kinds()
READY_KINDS = {name: _ready_kind(kind) for name, kind in KINDS.items() if kind.is_ready is not None}
