"""Checks, creates, reads and ends runs of evals. Nothing here commits."""

from sqlalchemy.orm import Session

from api.admission.callers import Caller
from api.evals import service as evals
from api.evals.runs import queries
from api.evals.runs.schemas import STATUSES, TASK_STATUS, RunStatus
from api.http.paging import check_cursor
from core.access import audit
from core.access.quotas import check_room
from core.errors import NotFound
from core.evals.evals import RUN_KIND, create_run
from core.evals.run_request import RunRequest
from core.ids import id_pattern
from core.tables import Task
from core.work import client as tasks

RUN_ID = id_pattern(f"{RUN_KIND}-")


def create(session: Session, caller: Caller, eval_id: str, request: RunRequest, most_open: int) -> Task:
    """Put a run into the queue, whose request is checked.

    Raises NotFound if the eval was deleted meanwhile, RateLimited if too many tasks are unfinished, and
    QuotaExceeded if the project's store is full.
    """
    evals.get(session, caller.project_id, eval_id)
    check_room(session, caller.project_id, caller.quotas.stored_bytes)
    run = create_run(session, eval_id, request, most_open)
    audit.record(session, caller, "eval_run.created", run.id, {"eval": eval_id, "model": request.model})
    return run


def get(session: Session, project_id: str, eval_id: str, run_id: str) -> Task:
    """Return a run of the project's eval. Raises NotFound."""
    run = queries.find(session, project_id, eval_id, run_id)
    if run is None:
        raise NotFound(f"No such run of an eval: {run_id}", code="eval_run_not_found", param="run_id")
    return run


def list_page(
    session: Session,
    project_id: str,
    eval_id: str,
    status: RunStatus | None,
    order: str,
    after: str | None,
    limit: int,
) -> tuple[list[Task], bool]:
    """Return a page of the eval's runs. Raises NotFound for the eval."""
    check_cursor(after, RUN_ID)
    evals.get(session, project_id, eval_id)
    return queries.page(
        session,
        project_id,
        eval_id,
        TASK_STATUS[status] if status else None,
        after=after,
        limit=limit,
        newest_first=order == "desc",
    )


def cancel(session: Session, caller: Caller, eval_id: str, run_id: str) -> Task:
    """Cancel a run that has not ended, and return it. Raises NotFound and Conflict."""
    run = get(session, caller.project_id, eval_id, run_id)
    tasks.cancel(session, run, STATUSES)
    audit.record(session, caller, "eval_run.cancelled", run_id)
    return run


def delete(session: Session, caller: Caller, eval_id: str, run_id: str) -> None:
    """Delete a run that has ended. Raises NotFound and Conflict."""
    tasks.delete(session, get(session, caller.project_id, eval_id, run_id), STATUSES)
    audit.record(session, caller, "eval_run.deleted", run_id)
