"""Checks requests for exports, and reads the files of exports. Nothing here commits."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy.orm import Session

from api.adapters import service as adapters
from api.exports.schemas import ExportDeleted, ExportObject
from api.http import downloads
from api.http.archive import stored_folder, zipped
from api.work.creation import NewTask, RequestContext
from api.work.resource import Parent, Resource
from core.egress import Egress, EgressRefused
from core.errors import Conflict, InvalidRequest
from core.exports.destinations import Destination, S3Destination
from core.exports.requests import ExportRequest
from core.secrets.hosts import NOT_FOR_HOST, of_export, refusal
from core.storage.object_store import ObjectStore
from core.tables import Secret, Task
from core.work.kinds import EXPORT

EXPORTS = Resource(
    EXPORT,
    name="export",
    called="export",
    id_name="export_id",
    view=ExportObject,
    deleted=ExportDeleted,
    sizes=(Task.request, Task.report, Task.files),
    parent=Parent(Task.adapter_id, adapters.get),
)


def check(session: Session, context: RequestContext, adapter_id: str, asked: ExportRequest) -> NewTask:
    """Return the export that may be created.

    Raises NotFound for the adapter, and InvalidRequest for the destination.
    """
    project_id = context.caller.project_id
    adapter = adapters.held(session, project_id, adapter_id)
    details: dict[str, Any] = {"adapter": adapter_id}
    if asked.destination is not None:
        _check_destination(session, project_id, asked.destination, context.egress)
        details["destination"] = asked.destination.model_dump(exclude={"secret"}, exclude_none=True)
    return NewTask(asked, details, {"adapter_id": adapter.id})


def _check_destination(session: Session, project_id: str, destination: Destination, egress: Egress) -> None:
    """Raise InvalidRequest if the address is refused, or if the project has no such secret for it."""
    secret = session.get(Secret, (project_id, destination.secret))
    if secret is None:
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
    if (reason := refusal(secret, of_export(destination))) is not None:
        raise InvalidRequest(reason, code=NOT_FOR_HOST, param="destination.secret")


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
