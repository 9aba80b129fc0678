"""/v1/adapters: list, read, download and delete adapters.

A project with which a model is shared can read and download the model's adapter, but not delete it.
"""

from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import StreamingResponse

from api.adapters import service
from api.adapters.schemas import (
    AdapterDeleted,
    AdapterObject,
    DescendantObject,
    MeasuredRank,
    MeasuredRanks,
)
from api.admission.auth import CurrentCaller
from api.admission.store_threads import waits_for_store
from api.dependencies import ReadingSessions, ReadingThreads, Store, Transaction
from api.http import downloads
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, deleted
from api.http.paging import After, LongLimit
from api.http.routers import feature
from api.schemas import Page
from core.errors import Conflict, InvalidRequest, NotFound

Cut = Annotated[
    int | None,
    Query(ge=1, description="Cuts an adapter that was trained with `dynamic_rank` to so many ranks"),
]

Part = Annotated[
    str | None,
    Query(
        max_length=128, description="Lists only the adapters that were composed of the adapter with this id"
    ),
]

router = feature("/v1/adapters", "Adapters")


@router.get("", responses=declared(InvalidRequest))
def list_adapters(
    session: Transaction,
    caller: CurrentCaller,
    limit: LongLimit = 20,
    after: After = None,
    part: Part = None,
) -> Page[AdapterObject]:
    """List the project's own adapters, newest first.

    A page may have fewer than `limit` items although more follow, if they are large.
    """
    rows, has_more = service.list_page(session, caller.project_id, after, limit, part)
    return Page.of([service.describe(row) for row in rows], has_more)


@router.get("/{adapter_id}", responses=declared(NotFound))
def retrieve_adapter(session: Transaction, caller: CurrentCaller, adapter_id: str) -> AdapterObject:
    """Return an adapter of the project, or of a model that is shared with it."""
    return service.describe(service.get(session, caller.project_id, adapter_id))


@router.get(
    "/{adapter_id}/files/{name}",
    response_class=StreamingResponse,
    responses=declared(NotFound) | downloads.documented(downloads.BYTES),
)
@waits_for_store
def download_adapter_file(
    sessions: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ReadingThreads,
    adapter_id: str,
    name: str,
) -> StreamingResponse:
    """Download one file of an adapter."""
    with sessions() as session:
        adapter = service.get(session, caller.project_id, adapter_id).adapter
    size, chunks = service.read_file(store, adapter, name)
    return downloads.download(chunks, name, threads, size=size)


@router.get(
    "/{adapter_id}/content",
    response_class=StreamingResponse,
    responses=declared(NotFound, InvalidRequest) | downloads.documented(downloads.ZIP),
)
@waits_for_store
def download_adapter(
    sessions: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ReadingThreads,
    adapter_id: str,
    rank: Cut = None,
) -> StreamingResponse:
    """Download all files of an adapter as a zip file.

    Unpack it, and load an adapter with PEFT, or a whole model with transformers. With `rank`, the zip holds a
    plain LoRA adapter of so many ranks, cut from an adapter that was trained with `dynamic_rank`.
    """
    with sessions() as session:
        row = service.get(session, caller.project_id, adapter_id)
    if rank is not None:
        service.check_rank(row, rank)
    chunks = service.read_all(store, row.adapter, rank)
    name = adapter_id if rank is None else f"{adapter_id}-rank-{rank}"
    return downloads.download(chunks, f"{name}.zip", threads, media_type=downloads.ZIP)


@router.get("/{adapter_id}/ranks", responses=declared(NotFound))
def list_ranks(session: Transaction, caller: CurrentCaller, adapter_id: str) -> MeasuredRanks:
    """Return the losses that an adapter has at fewer ranks, if it was trained with `dynamic_rank`.

    The list is empty for any other adapter.
    """
    measured = service.ranks(service.get(session, caller.project_id, adapter_id))
    return MeasuredRanks(data=[MeasuredRank(**entry) for entry in measured])


@router.get("/{adapter_id}/descendants", responses=declared(NotFound, InvalidRequest))
def list_descendants(
    session: Transaction,
    caller: CurrentCaller,
    adapter_id: str,
    limit: LongLimit = 20,
    after: After = None,
) -> Page[DescendantObject]:
    """List the project's jobs that continue from an adapter itself, newest first.

    A job that continues from the result of such a job is in the list of that result.
    """
    rows, has_more = service.list_descendants(session, caller.project_id, adapter_id, after, limit)
    return Page.of(rows, has_more)


@router.delete("/{adapter_id}", responses=declared(NotFound, Conflict, InvalidRequest))
def delete_adapter(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, adapter_id: str
) -> AdapterDeleted:
    """Delete an adapter of the project, and its fine-tuned model with it. The job's record stays.

    An adapter to whose model an alias leads is not deleted.
    """
    delete = partial(service.delete, session, caller.project_id, adapter_id)
    return deleted(session, attempt, AdapterDeleted(id=adapter_id), "adapter.deleted", delete)
