"""The writes of a client: it creates a task, cancels it, or hides it; the janitor then removes its files.

Every function works in the caller's transaction.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from core import artifacts
from core.artifacts import Owner
from core.errors import Conflict, RateLimited
from core.ids import new_id
from core.tables import Task
from core.tracing import spans
from core.work.kinds import Kind
from core.work.lease import end

RETRY_SECONDS = 30
AS_STORED: Mapping[str, str] = MappingProxyType({})


def create(
    session: Session, project_id: str, kind: Kind, request: Any, most_open: int | None, **of: str
) -> Task:
    """Put a task into the queue. `request` has the form that the kind names.

    `of` names what the task belongs to: its `adapter_id`, `eval_id` or `file_id`.

    Raises RateLimited if the project has `most_open` unfinished tasks. None is for a task that a job starts:
    it has no limit, and takes no room of the tasks that clients create.
    """
    if most_open is not None:
        _refuse_too_many(session, project_id, most_open)
    by_job = most_open is None
    named = {"id": new_id(f"{kind.name}-"), "project_id": project_id, "kind": kind.name, **of}
    asked = kind.request.dump_python(request, mode="json")
    task = Task(request=asked, started_by_job=by_job, traceparent=spans.current().traceparent, **named)
    session.add(task)
    session.flush()
    session.refresh(task)
    artifacts.hold(session, Owner("task", task.id), project_id, asked)
    return task


def record(
    session: Session,
    task_id: str,
    project_id: str,
    kind: Kind,
    request: Any,
    report: Any,
    prefix: str,
    files: list[dict[str, Any]],
    **of: str,
) -> None:
    """Add a task that its caller has done, with the files under `prefix`. Nobody takes it.

    `request`, `report` and `of` are as in `create`. The artifact of the prefix passes to the task. Raises
    OutsideFault as `artifacts.keep` does.
    """
    task = create(session, project_id, kind, request, None, id=task_id, **of)
    task.object_prefix, task.files, task.bytes = prefix, files, sum(file["bytes"] for file in files)
    task.report, task.done, task.started_at = kind.report.dump_python(report, mode="json"), 1.0, func.now()
    artifacts.keep(session, prefix, task.bytes, Owner("task", task_id))
    artifacts.hold(session, Owner("task", task_id), project_id, task.request, task.report)
    end(session, task, "succeeded")


def ask_for(session: Session, task: Task, most_open: int) -> bool:
    """Make an unfinished task that a job has started the client's own. Return False if it has been that.

    Raises RateLimited as `create` does.
    """
    if not task.started_by_job:
        return False
    _refuse_too_many(session, task.project_id, most_open)
    task.started_by_job = False
    return True


def cancel(session: Session, task: Task, shown: Mapping[str, str] = AS_STORED) -> None:
    """End a task that has not ended. Its process stops soon and writes nothing more. Raises Conflict.

    `shown` has the statuses as the client knows them.
    """
    session.refresh(task, with_for_update=True)
    if task.finished_at is not None:
        status = shown.get(task.status, task.status)
        raise Conflict(f"{task.id} is {status} and cannot be cancelled.", code="task_ended")
    end(session, task, "cancelled")
    session.flush()
    session.refresh(task)


def delete(session: Session, task: Task, shown: Mapping[str, str] = AS_STORED) -> None:
    """Hide a task that has ended; the janitor removes its files. Raises Conflict if it has not ended.

    `shown` has the statuses as the client knows them.
    """
    session.refresh(task, with_for_update=True)
    if task.finished_at is None:
        status = shown.get(task.status, task.status)
        raise Conflict(f"{task.id} is {status}. Cancel it first.", code="task_not_ended")
    task.deleted_at = func.now()
    artifacts.doom(session, artifacts.of("task", [task.id]), grace=artifacts.GRACE)


def delete_all(session: Session, which: ColumnElement[bool]) -> None:
    """Cancel the unfinished ones of these tasks, and hide them all: what they belong to is deleted."""
    chosen = update(Task).where(which, Task.deleted_at.is_(None))
    session.execute(
        chosen.where(Task.finished_at.is_(None)).values(status="cancelled", finished_at=func.now())
    )
    hidden = session.scalars(chosen.values(deleted_at=func.now()).returning(Task.id)).all()
    artifacts.doom(session, artifacts.of("task", hidden), grace=artifacts.GRACE)


def _refuse_too_many(session: Session, project_id: str, most_open: int) -> None:
    """Raise RateLimited if the project has too many unfinished tasks that no job has started.

    Other requests of the project wait until the transaction ends, so that they count this one's task.
    """
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"tasks:{project_id}", 0))))
    unfinished = Task.project_id == project_id, Task.finished_at.is_(None), ~Task.started_by_job
    if session.scalars(select(func.count()).where(*unfinished)).one() >= most_open:
        raise RateLimited(
            f"This project has {most_open} unfinished tasks, the most that it may have. Wait until one ends, "
            "or cancel one.",
            retry_after=RETRY_SECONDS,
        )
