"""Creates and reads conversions of files. Nothing here commits."""

from sqlalchemy.orm import Session

from api.file_tasks import queries
from api.files.intake import clean_filename
from core.access.quotas import Quotas, check_store
from core.datasets.formats.conversion import ConvertRequest
from core.ids import id_pattern
from core.tables import Task
from core.work import client as tasks

KIND = "conversion"
CONVERSION_ID = id_pattern("conversion-")


def create(
    session: Session, project_id: str, file_id: str, asked: ConvertRequest, quotas: Quotas, most_open: int
) -> Task:
    """Put a conversion into the queue.

    Raises NotFound for the file, RateLimited if too many tasks are unfinished, and QuotaExceeded if the new
    file would not fit.
    """
    file = queries.held_file(session, project_id, file_id)
    check_store(session, project_id, quotas.stored_bytes, announced=file.bytes)
    if asked.filename is not None:
        asked = asked.model_copy(update={"filename": clean_filename(asked.filename)})
    return tasks.create(session, project_id, KIND, asked.model_dump(), most_open, file_id=file_id)


def get(session: Session, project_id: str, file_id: str, conversion_id: str) -> Task:
    """Return a conversion of a file. Raises NotFound for either."""
    return queries.get(session, project_id, KIND, file_id, conversion_id)


def list_page(
    session: Session, project_id: str, file_id: str, after: str | None, limit: int
) -> tuple[list[Task], bool]:
    """Return a page of a file's conversions, newest first. Raises NotFound for the file."""
    rows, more = queries.list_page(session, project_id, KIND, file_id, CONVERSION_ID, after, limit)
    return [task for task, _ in rows], more
