"""Creates, reads and ends exports, and reads their files. Nothing here commits."""

from collections.abc import Iterator

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from api.adapters import service as adapters
from api.http import downloads
from api.http.archive import stored_folder, zipped
from api.http.paging import bytes_of, check_cursor, fetch_page
from core.access.quotas import Quotas, check_room
from core.egress import Egress, EgressRefused
from core.errors import Conflict, InvalidRequest, NotFound
from core.exports.destinations import Destination, S3Destination
from core.exports.requests import ExportRequest
from core.ids import id_pattern
from core.storage.object_store import ObjectStore
from core.tables import Secret, Task
from core.work import client as tasks

KIND = "export"
EXPORT_ID = id_pattern("export-")


def create(
    session: Session,
    project_id: str,
    adapter_id: str,
    asked: ExportRequest,
    quotas: Quotas,
    most_open: int,
    egress: Egress,
) -> Task:
    """Put an export into the queue.

    Raises NotFound for the adapter, InvalidRequest for the destination, RateLimited if too many exports are
    unfinished, and QuotaExceeded if the project's store is full.
    """
    adapter = adapters.get(session, project_id, adapter_id).adapter
    session.refresh(adapter, with_for_update={"read": True})  # so that nobody deletes it meanwhile
    if adapter.deleted_at is not None:
        adapters.get(session, project_id, adapter_id)
    if asked.destination is not None:
        _check_destination(session, project_id, asked.destination, egress)
    check_room(session, project_id, quotas.stored_bytes)
    return tasks.create(session, project_id, KIND, asked.model_dump(), most_open, adapter_id=adapter.id)


def _check_destination(session: Session, project_id: str, destination: Destination, egress: Egress) -> None:
    """Raise InvalidRequest if the project has no such secret, or if the address is refused."""
    if session.get(Secret, (project_id, destination.secret)) is None:
        raise InvalidRequest(
            f"No secret has the name {destination.secret}. `tunery secrets set` stores one.",
            code="secret_not_found",
            param="destination.secret",
        )
    if isinstance(destination, S3Destination) and destination.endpoint_url is not None:
        try:
            egress.check_url(destination.endpoint_url)
        except EgressRefused as error:
            raise InvalidRequest(
                f"The address is refused: {error}.", code="invalid_url", param="destination.endpoint_url"
            ) from error


def get(session: Session, project_id: str, adapter_id: str, export_id: str) -> Task:
    """Return an export of the project. Raises NotFound."""
    query = _exports(project_id, adapter_id).where(Task.id == export_id)
    task = session.scalars(query).one_or_none()
    if task is None:
        raise NotFound(f"No such export: {export_id}", code="export_not_found", param="export_id")
    return task


def list_page(
    session: Session, project_id: str, adapter_id: str, after: str | None, limit: int
) -> tuple[list[Task], bool]:
    """Return a page of the adapter's exports, newest first. Raises NotFound for the adapter."""
    check_cursor(after, EXPORT_ID)
    adapters.get(session, project_id, adapter_id)
    exports, size = _exports(project_id, adapter_id), bytes_of(Task.request, Task.report, Task.files)
    rows, more = fetch_page(session, exports, Task.id, after=after, limit=limit, size=size)
    return [task for (task,) in rows], more


def read_file(store: ObjectStore, task: Task, name: str) -> tuple[int, Iterator[bytes]]:
    """Return the size of one file in bytes, and its bytes. Raises NotFound for a name that is not listed."""
    return downloads.listed_file(store, task.object_prefix, task.files, name, f"Export {task.id}")


def read_all(store: ObjectStore, task: Task) -> Iterator[bytes]:
    """Return all files as a zip. Raises Conflict if the export has none yet."""
    if task.object_prefix is None:
        raise Conflict(f"Export {task.id} is {task.status}, so it has no files.", code="export_not_ready")
    names = [file["name"] for file in task.files]
    read = stored_folder(store, task.object_prefix, task.files)
    return zipped(((name, read(name)) for name in names), task.created_at)


def _exports(project_id: str, adapter_id: str) -> Select[Task]:
    of_adapter = Task.project_id == project_id, Task.adapter_id == adapter_id
    return select(Task).where(*of_adapter, Task.kind == KIND, Task.deleted_at.is_(None))
