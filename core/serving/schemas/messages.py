"""The messages of a chat: text, images, calls of tools, and the answers of tools."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from core.images.parts import TYPE
from core.options import Options, unsupported
from core.response_formats import FunctionName


class TextPart(Options):
    """A part of a message that is text."""

    type: Literal["text"]
    text: str


class ImageUrl(Options):
    url: Annotated[str, Field(description="The image itself as a data URL: a JPEG, PNG or WEBP")]
    detail: Annotated[
        Literal["auto", "low", "high"] | None,
        Field(description="`low` reads at most 512 pixels a side, and `auto` does so for small images"),
    ] = None


class ImagePart(Options):
    """A part of a user's message that is an image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class RefusalPart(Options):
    type: Literal["refusal"]
    refusal: str


Text = Annotated[str | list[TextPart], Field(description="A text, or its parts, which are joined")]


class CalledFunction(Options):
    name: FunctionName
    arguments: Annotated[str, Field(description="JSON, as the model wrote it")]


class ToolCall(Options):
    id: str
    type: Literal["function"]
    function: CalledFunction


class SystemMessage(Options):
    role: Literal["system"]
    content: Text
    name: str | None = None


class DeveloperMessage(Options):
    role: Literal["developer"]
    content: Text
    name: str | None = None


class UserMessage(Options):
    role: Literal["user"]
    content: Annotated[
        str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]],
        Field(description="A text, or its parts and images in their order"),
    ]
    name: str | None = None


class AssistantMessage(Options):
    """An earlier answer of the model. It has a text, or calls of tools, or both."""

    role: Literal["assistant"]
    content: str | list[Annotated[TextPart | RefusalPart, Field(discriminator="type")]] | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    name: str | None = None
    refusal: str | None = None
    # Clients send a message back as they got it, with fields that are null or empty here.
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = unsupported("Only text is supported")
    function_call: None = unsupported("Use `tool_calls` instead")


class ToolMessage(Options):
    """What a tool answered to a call."""

    role: Literal["tool"]
    content: Text
    tool_call_id: Annotated[str, Field(description="The id of the call in the assistant's message")]
    name: str | None = None


Message = Annotated[
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage,
    Field(discriminator="role"),
]


def plain_text(content: str | list[Any] | None) -> str:
    """Return the text of a message: its parts are joined, and no text is the empty text. Images have none."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(
        part.text if isinstance(part, TextPart) else part.refusal
        for part in content
        if not isinstance(part, ImagePart)
    )


def images_of(messages: Sequence[Message]) -> Iterator[tuple[str, ImageUrl]]:
    """Yield the images of messages, each with the path to its URL."""
    for index, message in enumerate(messages):
        for number, part in enumerate(message.content or ()):
            if isinstance(part, ImagePart):
                yield f"messages.{index}.content.{number}.{TYPE}.url", part.image_url


def beginning_with(image: ImageUrl) -> str:
    """Return what stands for the beginning of a prompt with this image in it."""
    return hashlib.sha256(image.url.encode()).hexdigest()


def beginning_of(messages: Sequence[Message]) -> str:
    """Return what stands for the beginning of a prompt: its first text, or a hash of its first image."""
    for _, image in images_of(messages[:1]):
        return beginning_with(image)
    return plain_text(messages[0].content)
