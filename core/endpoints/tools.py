"""Tools that a model calls: their declarations, in Azure's form, and the calls."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import StringConstraints

from core.endpoints.schemas import Address, Endpoint

ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class EndpointTool(Endpoint):
    """A tool whose calls a URL answers."""

    address_field: ClassVar[str] = "server_url"

    name: ToolName
    server_url: Address


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool. `arguments` is JSON, or any text if the model wrote one in its place."""

    id: str
    name: str
    arguments: str

    @property
    def in_chat_form(self) -> dict[str, Any]:
        """The call as an assistant's message has it, in OpenAI's form."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }
