"""What tools have returned to an answer, and how the answer goes on."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ToolResults:
    """The `outputs` of the calls of one turn, in their order.

    `tokens` lead from the end of that turn to the beginning of the next one. If a tool has failed, or the
    results cannot be rendered, there is only the `error`, a sentence for the client.
    """

    outputs: Sequence[str] = ()
    tokens: Sequence[int] = ()
    error: str | None = None
