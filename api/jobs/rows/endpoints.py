"""/v1/fine_tuning/jobs/…/rows: list the losses of a job's rows before and after its training."""

from typing import Annotated

from fastapi import Query

from api.admission.auth import CurrentCaller
from api.dependencies import Transaction
from api.http.errors import declared
from api.http.paging import After, LongLimit
from api.http.routers import feature
from api.jobs.rows import queries
from api.jobs.rows.queries import Order, Part
from api.jobs.rows.schemas import RowObject, cursor_of
from api.jobs.service import own_job
from api.schemas import Page
from core.errors import InvalidRequest, NotFound

router = feature("/v1/fine_tuning/jobs/{fine_tuning_job_id}/rows", "Fine-tuning jobs")


@router.get("", responses=declared(NotFound, InvalidRequest))
def list_rows(
    session: Transaction,
    caller: CurrentCaller,
    fine_tuning_job_id: str,
    order: Annotated[
        Order,
        Query(
            description="By the loss after the training, by the size of its change, by its rise, or by how "
            "far it is above the losses of similar prompts; largest first"
        ),
    ] = "hardest",
    part: Annotated[Part | None, Query(description="Only rows of this part of the data")] = None,
    limit: LongLimit = 20,
    after: After = None,
) -> Page[RowObject]:
    """List the rows whose losses were measured, because the job asks for `training.row_losses`.

    The list is empty if it does not. Losses before the training appear when the job begins to train, and the
    others when it ends.
    """
    cursor = cursor_of(after)
    job = own_job(session, caller.project_id, fine_tuning_job_id)
    rows, has_more = queries.page(session, job.id, order, part, after=cursor, limit=limit)
    return Page.of([RowObject.of(row, job) for row in rows], has_more)
