"""How clients see runs of evals. Nothing here commits."""

from typing import Annotated, Literal

from fastapi import Query

from api.evals import service as evals
from api.evals.runs.schemas import STATUSES, TASK_STATUS, EvalRunDeleted, EvalRunObject, RunStatus
from api.http.paging import After, Limit
from api.work.endpoints import Wanted
from api.work.resource import Parent, Resource
from core.tables import Task
from core.work.kinds import EVAL_RUN

RUNS = Resource(
    EVAL_RUN,
    name="eval_run",
    called="run of an eval",
    id_name="run_id",
    view=EvalRunObject,
    deleted=EvalRunDeleted,
    sizes=(Task.request, Task.report),
    parent=Parent(Task.eval_id, evals.get),
    statuses=STATUSES,
)


async def wanted_runs(
    limit: Limit = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="`asc`: the oldest first")] = "asc",
    status: Annotated[RunStatus | None, Query(description="Only runs with this status")] = None,
    after: After = None,
) -> Wanted:
    """Return the page of runs that a request asks for, by default the oldest first."""
    return Wanted(after, limit, TASK_STATUS[status] if status else None, newest_first=order == "desc")
