"""POST /v1/files/{file_id}/preview: which tokens of a row are learnt under a base model."""

from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Request

from api.admission.auth import CurrentCaller
from api.admission.fair_share import ReleasePermit
from api.chat.shared import ChatComponents
from api.dependencies import ModelCatalog, ReadingSessions, component
from api.files import service as files
from api.http.errors import declared
from api.http.leaving import while_client_waits
from api.http.routers import feature
from api.models.base_models import require_base, row_limit
from api.previews.schemas import FilePreview
from core.errors import InvalidRequest, NotFound, RateLimited, TooLarge
from core.serving.errors import SamplingFailed
from core.serving.previews import PREVIEW, Previewed, PreviewOrder, PreviewRequest

Components = Annotated[ChatComponents, Depends(component("chat"))]

router = feature("/v1/files/{file_id}", "Files", NotFound)


@router.post("/preview", responses=declared(InvalidRequest, TooLarge, RateLimited, SamplingFailed))
async def preview_rows(
    request: Request,
    file_id: str,
    body: PreviewRequest,
    caller: CurrentCaller,
    catalog: ModelCatalog,
    reading: ReadingSessions,
    components: Components,
    release_permit: ReleasePermit,
) -> FilePreview:
    """Show rows of a file as training sees them: their tokens, and which of them the model learns to write.

    A server renders the rows with the base model's own chat template, by the code that renders them for
    training. It loads no model. The file may have any format that a conversion takes. A row that no job takes
    has an `error`. The request takes a permit of the project's `concurrent_chats`.
    """
    entry = require_base(catalog, body.model)
    max_length = row_limit(entry, body.max_length, "max_length")

    def order() -> PreviewOrder:
        with reading() as session:
            file = files.get(session, caller.project_id, file_id)
        return PreviewOrder(
            base=entry.id,
            key=file.object_key,
            bytes=file.bytes,
            kind=file.kind,
            max_length=max_length,
            lines=body.lines,
        )

    asked = await to_thread.run_sync(order)
    release_permit()
    async with while_client_waits(request.receive):
        answer = await components.carried_out(caller, PREVIEW, entry.id, asked.key, asked)
    found = Previewed.model_validate_json(answer)
    return FilePreview(
        file_id=file_id,
        model=entry.id,
        max_length=max_length,
        numbered_by=found.numbered_by,
        rows=found.rows,
    )
