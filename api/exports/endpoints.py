"""/v1/adapters/{id}/exports: other forms of an adapter, for runtimes that do not load PEFT's files."""

from functools import partial

from starlette.responses import StreamingResponse

from api.admission.auth import CurrentCaller
from api.admission.store_threads import waits_for_store
from api.dependencies import ReadingSessions, ReadingThreads, Store, Transaction
from api.exports import service
from api.exports.schemas import ExportObject
from api.exports.service import EXPORTS
from api.http import downloads
from api.http.errors import declared
from api.http.routers import feature
from api.work.creation import Context, create_task
from api.work.endpoints import add_task_routes
from core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, RateLimited, TooLarge
from core.exports.requests import EXPORT_REQUEST, ExportRequest

router = feature("/v1/adapters/{adapter_id}/exports", "Exports", NotFound)


@router.post("", responses=declared(InvalidRequest, Conflict, TooLarge, QuotaExceeded, RateLimited))
def create_export(
    session: Transaction, context: Context, adapter_id: str, body: ExportRequest
) -> ExportObject:
    """Start an export of an adapter. Read the export until its `status` is `succeeded` or `failed`.

    The adapter may also be one of a model that is shared with the project. With a `destination`, the files
    are pushed there too, once they can be downloaded. If that fails, the export fails, and its files stay.
    """
    asked = EXPORT_REQUEST.dump_json(body).decode()
    check = partial(service.check, session, context, adapter_id, body)
    return create_task(session, context, EXPORTS, asked, check, adapter_id)


add_task_routes(router, EXPORTS, "")


@router.get(
    "/{export_id}/files/{name}",
    response_class=StreamingResponse,
    responses=downloads.documented(downloads.BYTES),
)
@waits_for_store
def download_export_file(
    sessions: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ReadingThreads,
    adapter_id: str,
    export_id: str,
    name: str,
) -> StreamingResponse:
    """Download one file of an export."""
    with sessions() as session:
        task = EXPORTS.find(session, caller.project_id, adapter_id, export_id).task
    size, chunks = service.read_file(store, task, name)
    return downloads.download(chunks, name, threads, size=size)


@router.get(
    "/{export_id}/content",
    response_class=StreamingResponse,
    responses=declared(Conflict) | downloads.documented(downloads.ZIP),
)
@waits_for_store
def download_export(
    sessions: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ReadingThreads,
    adapter_id: str,
    export_id: str,
) -> StreamingResponse:
    """Download all files of an export as a zip file."""
    with sessions() as session:
        task = EXPORTS.find(session, caller.project_id, adapter_id, export_id).task
    chunks = service.read_all(store, task)
    return downloads.download(chunks, f"{export_id}.zip", threads, media_type=downloads.ZIP)
