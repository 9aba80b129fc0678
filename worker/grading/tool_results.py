"""What tools have returned to an answer, and how the answer goes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ToolResults:
    """The outputs of the calls of one turn, as `messages` in OpenAI's form, in the order of the calls.

    `tokens` lead from the end of that turn to the beginning of the next one. If a tool has failed, or the
    outputs cannot be rendered, there is only the `error`, a sentence for the client.
    """

    messages: Sequence[dict[str, Any]] = ()
    tokens: Sequence[int] = ()
    error: str | None = None
