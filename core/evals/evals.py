"""The writes of evals and their runs, which API and worker share.

Every function works in the caller's transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Session

from core import artifacts
from core.artifacts import Owner
from core.errors import NotFound
from core.evals.criteria import Criterion
from core.evals.run_request import RunRequest
from core.ids import new_id
from core.tables import Eval, Task
from core.work import client as tasks

RUN_KIND = "evalrun"
ANY_ITEM: Mapping[str, Any] = {"type": "custom", "item_schema": {}, "include_sample_schema": True}


def create_eval(
    session: Session,
    project_id: str,
    name: str,
    criteria: Sequence[Criterion],
    *,
    data_source_config: Mapping[str, Any] = ANY_ITEM,
    metadata: dict[str, str] | None = None,
    job_id: str | None = None,
) -> Eval:
    """Add an eval whose criteria are checked, and return it. `job_id` names the job that asked for it."""
    created = Eval(
        id=new_id("eval-"),
        project_id=project_id,
        job_id=job_id,
        name=name,
        data_source_config=dict(data_source_config),
        criteria=[criterion.model_dump(mode="json") for criterion in criteria],
        client_metadata=metadata,
    )
    session.add(created)
    session.flush()
    session.refresh(created)
    artifacts.hold(
        session, Owner("eval", created.id), project_id, created.criteria, created.data_source_config
    )
    return created


def create_run(session: Session, eval_id: str, request: RunRequest, most_open: int | None) -> Task:
    """Put a run of an eval into the queue. The caller has resolved the models and checked the rows.

    Raises NotFound if the eval is deleted, and RateLimited if the project has `most_open` unfinished tasks.
    None sets no limit.
    """
    row = session.get(Eval, eval_id, with_for_update={"read": True}, populate_existing=True)
    if row is None or row.deleted_at is not None:
        raise no_such_eval(eval_id)
    asked = request.model_dump(mode="json")
    return tasks.create(session, row.project_id, RUN_KIND, asked, most_open, eval_id=eval_id)


def delete_eval(session: Session, row: Eval) -> None:
    """Hide an eval and its runs, and cancel those that have not ended. The janitor removes their files.

    The row stays for its runs, without the texts of its owner.
    """
    session.refresh(row, with_for_update=True)
    row.deleted_at = func.now()
    row.name, row.criteria, row.data_source_config, row.client_metadata = "", [], {}, None
    artifacts.doom(session, artifacts.of("eval", [row.id]))
    session.flush()
    tasks.delete_all(session, Task.eval_id == row.id)


def no_such_eval(eval_id: str) -> NotFound:
    """Return the error for an eval that does not exist, or belongs to another project."""
    return NotFound(f"No such eval: {eval_id}", code="eval_not_found", param="eval_id")
