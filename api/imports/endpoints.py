"""POST /v1/adapters: import an adapter that was trained elsewhere."""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session, sessionmaker

from api.adapters import service as adapters
from api.adapters.schemas import AdapterObject
from api.admission.auth import CurrentCaller
from api.admission.callers import Caller
from api.admission.fair_share import ReleasePermit
from api.chat.shared import ChatParts
from api.dependencies import (
    AppSettings,
    ModelCatalog,
    ReadingSessions,
    Sessions,
    UploadThreads,
    part,
)
from api.files.registration import kept_if_registered
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, found_by
from api.http.strict_json import StrictJsonRoute
from api.imports import service
from api.imports.schemas import ImportAdapter
from api.imports.service import NewImport
from core.access import audit
from core.access.idempotency import Attempt, earlier_answer, once
from core.access.quotas import check_store
from core.errors import (
    Conflict,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    QuotaExceeded,
    RateLimited,
    TooLarge,
    Unavailable,
)
from core.serving.errors import SamplingFailed
from core.serving.imports import IMPORT, Imported

Parts = Annotated[ChatParts, Depends(part("chat"))]

router = APIRouter(
    prefix="/v1/adapters",
    tags=["Adapters"],
    route_class=StrictJsonRoute,
    responses=declared(NotAuthenticated, Unavailable),
)


@router.post(
    "",
    responses=declared(
        InvalidRequest, NotFound, Conflict, TooLarge, RateLimited, QuotaExceeded, SamplingFailed
    ),
)
async def import_adapter(
    body: ImportAdapter,
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    catalog: ModelCatalog,
    reading: ReadingSessions,
    sessions: Sessions,
    threads: UploadThreads,
    parts: Parts,
    release_permit: ReleasePermit,
) -> AdapterObject:
    """Import a LoRA adapter that was trained elsewhere.

    A server reads the file in a process of its own, and checks each tensor against the base model. If
    anything is wrong, the import is refused, with the file and the tensor in the message, and nothing stays.
    Afterwards the adapter is like one that a job has trained: chat with it, download it, continue from it.

    The request takes a permit of the project's `concurrent_chats`.
    """
    asked, is_there = body.model_dump_json(), found_by(adapters.get, caller.project_id)

    def prepare() -> NewImport | dict[str, Any]:
        with reading() as session:
            earlier = earlier_answer(session, attempt, asked, is_there)
            return earlier or service.prepare(
                session, caller.project_id, catalog, settings.max_adapter_bytes, body
            )

    new = await to_thread.run_sync(prepare)
    if isinstance(new, dict):
        return AdapterObject.model_validate(new)
    release_permit()

    def open_content() -> None:
        with sessions.begin() as session:
            service.open_content(session, caller.project_id, new)

    await to_thread.run_sync(open_content, limiter=threads)
    async with kept_if_registered(sessions, new.order.prefix, new.adapter_id, threads) as registered:
        read = await parts.carried_out(caller, IMPORT, new.order.base, new.order.sha256, new.order)
        stored = Imported.model_validate_json(read)
        answer = await to_thread.run_sync(
            _register, sessions, caller, attempt, asked, new, body.suffix, stored, limiter=threads
        )
        registered(answer.id)
    return answer


def _register(
    sessions: sessionmaker[Session],
    caller: Caller,
    attempt: Attempt,
    asked: str,
    new: NewImport,
    suffix: str | None,
    stored: Imported,
) -> AdapterObject:
    """Register the adapter in a transaction. No session was open while the server read the file."""
    with sessions.begin() as session:

        def register() -> dict[str, Any]:
            row = service.register(session, caller, new, suffix, stored)
            imported = {"file": new.order.filename, "sha256": new.order.sha256}
            check_store(session, caller.project_id, caller.quotas.stored_bytes)
            audit.record(session, caller, "adapter.imported", new.adapter_id, imported)
            return adapters.describe(row).model_dump(mode="json")

        is_there = found_by(adapters.get, caller.project_id)
        return AdapterObject.model_validate(once(session, attempt, asked, register, is_there))
