"""Creates, reads, renames and deletes evals. Nothing here commits."""

from sqlalchemy import func
from sqlalchemy.orm import Session

from api.admission.callers import Caller
from api.eval_requests.check import check_criteria, check_endpoints
from api.evals import queries
from api.evals.queries import Wanted
from api.evals.schemas import MAX_NAME, CreateEval, UpdateEval
from api.http.paging import check_cursor
from api.jobs import queries as jobs
from api.models.grader_models import check_grader_models
from core import artifacts
from core.access import audit
from core.access.quotas import check_request
from core.catalog import Catalog
from core.egress import Egress
from core.errors import InvalidRequest
from core.evals.evals import count, create_eval, no_such_eval
from core.ids import id_pattern
from core.secrets.endpoint_headers import with_sealed_headers
from core.secrets.vault import Vault
from core.settings import Settings
from core.tables import Eval, Task
from core.work import client as tasks

EVAL_ID = id_pattern("eval-")


def create(
    session: Session,
    caller: Caller,
    catalog: Catalog,
    settings: Settings,
    egress: Egress,
    vault: Vault,
    asked: CreateEval,
) -> Eval:
    """Create an eval. The headers of its graders are stored encrypted.

    Raises InvalidRequest for a criterion that cannot be used here, or an unknown job; and QuotaExceeded.
    """
    check_criteria(asked.testing_criteria, settings.python_sandbox)
    for index, criterion in enumerate(asked.testing_criteria):
        check_endpoints(egress, criterion, f"testing_criteria.{index}")
    check_grader_models(session, caller.project_id, catalog, asked.testing_criteria)
    if asked.job_id is not None and jobs.find(session, caller.project_id, asked.job_id) is None:
        raise InvalidRequest(
            f"No such job: {asked.job_id}. Name a job of this project, or leave 'job_id' out.",
            code="job_not_found",
            param="job_id",
        )
    names = ", ".join(criterion.name for criterion in asked.testing_criteria)
    created = create_eval(
        session,
        caller.project_id,
        asked.name or names[:MAX_NAME],
        with_sealed_headers(vault, asked.testing_criteria),
        data_source_config=asked.data_source_config.model_dump(mode="json"),
        metadata=asked.metadata,
        job_id=asked.job_id,
    )
    check_request(session, caller.project_id, caller.quotas.stored_bytes)
    audit.record(session, caller, "eval.created", created.id)
    return created


def get(session: Session, project_id: str, eval_id: str, *, lock: bool = False) -> Eval:
    """Return an eval of the project. Raises NotFound."""
    row = queries.find(session, project_id, eval_id, lock=lock)
    if row is None:
        raise no_such_eval(eval_id)
    return row


def list_page(
    session: Session, wanted: Wanted, order_by: str, order: str, after: str | None, limit: int
) -> tuple[list[Eval], bool]:
    check_cursor(after, EVAL_ID)
    by_change, newest_first = order_by == "updated_at", order == "desc"
    return queries.page(
        session, wanted, by_change=by_change, after=after, limit=limit, newest_first=newest_first
    )


def update(session: Session, caller: Caller, eval_id: str, asked: UpdateEval) -> Eval:
    """Change the name or the metadata of an eval, and return it. Raises NotFound and QuotaExceeded."""
    row = get(session, caller.project_id, eval_id, lock=True)
    if asked.name is not None:
        row.name = asked.name
    if "metadata" in asked.model_fields_set:
        row.client_metadata = asked.metadata
    row.updated_at = func.now()
    count(session, row)
    check_request(session, caller.project_id, caller.quotas.stored_bytes)
    audit.record(session, caller, "eval.updated", eval_id)
    session.flush()
    session.refresh(row)
    return row


def delete(session: Session, caller: Caller, eval_id: str) -> None:
    """Hide an eval and its runs, and cancel those that have not ended. Raises NotFound.

    The row stays for its runs, without the texts of its owner. The janitor removes their files.
    """
    row = get(session, caller.project_id, eval_id, lock=True)
    row.deleted_at = func.now()
    row.name, row.criteria, row.data_source_config, row.client_metadata = "", [], {}, None
    artifacts.doom(session, artifacts.of("eval", [row.id]))
    session.flush()
    tasks.delete_all(session, Task.eval_id == row.id)
    audit.record(session, caller, "eval.deleted", eval_id)
