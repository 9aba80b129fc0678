"""POST /v1/adapters: import an adapter that was trained elsewhere."""

from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Request

from api.adapters.schemas import AdapterObject
from api.admission.fair_share import ReleasePermit
from api.dependencies import Sessions, component
from api.http.errors import declared
from api.http.routers import feature
from api.imports import service
from api.imports.schemas import ImportAdapter
from api.imports.waiting import ImportsInWork
from api.work.creation import Context
from core.access.idempotency import Answer
from core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, RateLimited, TooLarge

InWork = Annotated[ImportsInWork, Depends(component("imports"))]

router = feature("/v1/adapters", "Adapters")


@router.post("", responses=declared(InvalidRequest, NotFound, Conflict, TooLarge, RateLimited, QuotaExceeded))
async def import_adapter(
    body: ImportAdapter,
    request: Request,
    context: Context,
    sessions: Sessions,
    imports: InWork,
    release_permit: ReleasePermit,
) -> AdapterObject:
    """Import a LoRA adapter that was trained elsewhere.

    A worker reads the file in a process of its own, and checks each tensor against the base model. If
    anything is wrong, the import is refused, with the file and the tensor in the message, and nothing stays.
    Afterwards the adapter is like one that a job has trained: chat with it, download it, continue from it.

    The request waits for its end, and is one of the project's unfinished tasks meanwhile. A project has one
    import under way at a time, for which its others wait a while. If the client leaves, the import is
    cancelled.
    """

    def begin() -> Answer:
        with sessions.begin() as session:
            return service.begin(session, context, body)

    def end(task_id: str) -> Answer | None:
        with sessions.begin() as session:
            return service.end(session, context, body, task_id)

    answer: Answer | None = None
    while answer is None:  # another client that waited for the same import has left, which cancelled it
        begun = await to_thread.run_sync(begin)
        release_permit()
        if "task_id" not in begun:
            return AdapterObject.model_validate(begun)
        await imports.until_ended(begun["task_id"], request.receive)
        answer = await to_thread.run_sync(end, begun["task_id"])
    return AdapterObject.model_validate(answer)
