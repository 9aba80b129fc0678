"""The messages of a chat: text, calls of tools, and the answers of tools."""

from typing import Annotated, Any, Literal

from pydantic import Field

from core.options import Options, unsupported
from core.response_formats import FunctionName


class TextPart(Options):
    """A part of a message. Only text is supported: no image, audio or file."""

    type: Literal["text"]
    text: str


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
    content: Text
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
    """Return the text of a message: its parts are joined, and no text is the empty text."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text if isinstance(part, TextPart) else part.refusal for part in content)
