"""/v1/evals: say how models are judged."""

from typing import Annotated, Literal

from fastapi import Query

from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings, ModelCatalog, Outgoing, Secrets, Transaction
from api.evals import service
from api.evals.queries import Wanted
from api.evals.schemas import CreateEval, EvalDeleted, EvalObject, UpdateEval
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, created, found_by, repeatable
from api.http.paging import After, Limit
from api.http.routers import feature
from api.schemas import Page
from core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded

router = feature("/v1/evals", "Evals")


@router.post("", responses=declared(InvalidRequest, Conflict, QuotaExceeded))
def create_eval(
    session: Transaction,
    caller: CurrentCaller,
    attempt: ThisAttempt,
    catalog: ModelCatalog,
    settings: AppSettings,
    egress: Outgoing,
    vault: Secrets,
    body: CreateEval,
) -> EvalObject:
    """Create an eval: criteria by which models are judged. Runs of the eval judge a model each."""

    def create() -> EvalObject:
        return EvalObject.of(service.create(session, caller, catalog, settings, egress, vault, body))

    return created(session, attempt, EvalObject, body, create, found_by(service.get, caller.project_id))


@router.get("", responses=declared(InvalidRequest))
def list_evals(
    session: Transaction,
    caller: CurrentCaller,
    limit: Limit = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="`asc`: the oldest first")] = "asc",
    order_by: Annotated[
        Literal["created_at", "updated_at"], Query(description="The time by which the evals are ordered")
    ] = "created_at",
    job_id: Annotated[
        str | None, Query(max_length=128, description="Only evals that judge this job's result")
    ] = None,
    model: Annotated[
        str | None,
        Query(
            max_length=256,
            description="Only evals with a run that judges this model: the name of a base model, a "
            "fine-tuned model or a checkpoint, as the run's `model` shows it",
        ),
    ] = None,
    after: After = None,
) -> Page[EvalObject]:
    """List the project's evals, by default the oldest first.

    A page may have fewer than `limit` items although more follow, if they are large.
    """
    wanted = Wanted(caller.project_id, job_id, model)
    rows, has_more = service.list_page(session, wanted, order_by, order, after, limit)
    return Page.of([EvalObject.of(row) for row in rows], has_more)


@router.get("/{eval_id}", responses=declared(NotFound))
def retrieve_eval(session: Transaction, caller: CurrentCaller, eval_id: str) -> EvalObject:
    """Return an eval."""
    return EvalObject.of(service.get(session, caller.project_id, eval_id))


@router.post("/{eval_id}", responses=declared(InvalidRequest, NotFound, QuotaExceeded))
def update_eval(session: Transaction, caller: CurrentCaller, eval_id: str, body: UpdateEval) -> EvalObject:
    """Change the name or the metadata of an eval. Its criteria never change, so its runs stay comparable."""
    return EvalObject.of(service.update(session, caller, eval_id, body))


@router.delete("/{eval_id}", responses=declared(NotFound, InvalidRequest, Conflict))
def delete_eval(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, eval_id: str
) -> EvalDeleted:
    """Delete an eval with all of its runs. Runs that have not ended are cancelled."""

    def delete() -> EvalDeleted:
        service.delete(session, caller, eval_id)
        return EvalDeleted(eval_id=eval_id)

    return repeatable(session, attempt, EvalDeleted, delete)
