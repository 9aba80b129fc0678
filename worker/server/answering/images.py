"""The images of a request: seen before its prompt is made, which has only their words."""

from collections.abc import Iterable
from typing import Any, TypeVar

from core.errors import InvalidRequest
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.messages import ImagePart, ImageUrl, Message, images_of
from core.serving.schemas.tokens import TokenizeRequest
from core.tracing import spans
from worker.server.exchange import Exchange
from worker.server.sampling.loaded_base import LoadedBase
from worker.server.sampling.served_images import PromptImages

Asked = TypeVar("Asked", ChatRequest, TokenizeRequest)

EMPTY = ImagePart(type="image_url", image_url=ImageUrl(url=""))


async def seen_images(
    base: LoadedBase, exchange: Exchange, images: Iterable[tuple[str, ImageUrl]]
) -> PromptImages | None:
    """See the images of a prompt, each with its path in the request; None if there are none.

    Raises InvalidRequest and SamplingFailed.
    """
    placed = list(images)
    if not placed:
        return None
    if base.images is None:
        path, _ = placed[0]
        raise InvalidRequest(
            "This model reads no images. Leave them out, or take a model that reads images.",
            code="unsupported_images",
            param=path,
        )
    with spans.child("chat.images"):
        return await base.images.see(exchange.project, placed)


def without_images(request: Asked) -> Asked:
    """Return the request with empty images, for the process that renders: it needs only their places."""
    messages = [_emptied(message) for message in request.messages or ()]
    return request.model_copy(update={"messages": messages or None})


def _emptied(message: Message) -> Message:
    if not any(images_of([message])):
        return message
    parts: list[Any] = [EMPTY if isinstance(part, ImagePart) else part for part in message.content or ()]
    return message.model_copy(update={"content": parts})
