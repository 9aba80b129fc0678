"""Creates and reads checks of files. Nothing here commits."""

from typing import Any

from sqlalchemy.orm import Session

from api.file_tasks import queries
from api.files import queries as file_queries
from api.files.service import names_no_file
from api.models.base_models import require_base, row_limit
from core.access.quotas import Quotas, check_store
from core.catalog import Catalog
from core.datasets.checks.requests import CheckRequest
from core.errors import InvalidRequest
from core.ids import id_pattern
from core.tables import Task
from core.work import client as tasks

KIND = "check"
CHECK_ID = id_pattern("check-")


def create(
    session: Session,
    project_id: str,
    file_id: str,
    asked: CheckRequest,
    quotas: Quotas,
    catalog: Catalog,
    most_open: int,
) -> Task:
    """Put a check into the queue.

    Raises NotFound for the file, InvalidRequest for what the request names, RateLimited if too many tasks are
    unfinished, and QuotaExceeded if a mended copy would not fit.
    """
    file = queries.held_file(session, project_id, file_id)
    if asked.validation_file == file_id:
        raise InvalidRequest(
            "A file has all of its own rows. Name another file as `validation_file`, or none.",
            code="same_file",
            param="validation_file",
        )
    if asked.leave_out and not asked.mend:
        raise InvalidRequest(
            "Lines are left out of a mended copy. Set `mend` to true too.",
            code="invalid_value",
            param="leave_out",
        )
    resolved = asked.model_copy(update={"max_length": _max_length(asked, catalog)})
    if asked.validation_file is not None:
        _require_validation_file(session, project_id, asked.validation_file)
    if asked.mend:
        check_store(session, project_id, quotas.stored_bytes, announced=file.bytes)
    return tasks.create(session, project_id, KIND, resolved.model_dump(), most_open, file_id=file_id)


def get(session: Session, project_id: str, file_id: str, check_id: str) -> Task:
    """Return a check of a file. Raises NotFound for either."""
    return queries.get(session, project_id, KIND, file_id, check_id)


def list_page(
    session: Session, project_id: str, file_id: str, after: str | None, limit: int
) -> tuple[list[tuple[Task, Any]], bool]:
    """Return a page of a file's checks, newest first, each with its counts. Raises NotFound for the file."""
    return queries.list_page(session, project_id, KIND, file_id, CHECK_ID, after, limit)


def _max_length(asked: CheckRequest, catalog: Catalog) -> int | None:
    if asked.model is None:
        return asked.max_length
    return row_limit(require_base(catalog, asked.model), asked.max_length, "max_length")


def _require_validation_file(session: Session, project_id: str, file_id: str) -> None:
    if file_queries.find_for_job(session, project_id, file_id) is None:
        raise names_no_file(file_id, "validation_file")
