"""The pieces of one request's answers on their way from the sampler to the client."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from worker.engine.sampler.draft import Drafted
from worker.engine.sampler.requests import Piece, TokenChoice

MAX_BYTES = 2 * 1024**2  # what a stream holds for a client that does not read
CHOICE_BYTES = 128  # about what a token with its log-probability takes


@dataclass
class Increment:
    """The pieces that one answer has gained since the client last read it."""

    index: int
    text: str = ""
    tokens: int = 0
    chosen: list[TokenChoice] = field(default_factory=list)
    last: Piece | None = None
    cached_tokens: int = 0
    drafted: list[Drafted] = field(default_factory=list)
    prompt_logprobs: tuple[TokenChoice | None, ...] | None = None

    def add(self, piece: Piece, has_text: bool) -> None:
        self.text += piece.text
        self.tokens += piece.token is not None
        if piece.chosen is not None and has_text:
            self.chosen.append(piece.chosen)
        self.cached_tokens = self.cached_tokens or piece.cached_tokens
        self.prompt_logprobs = self.prompt_logprobs or piece.prompt_logprobs
        if piece.drafted is not None:
            self.drafted.append(piece.drafted)
        if piece.finish_reason is not None:
            self.last = piece


class AnswerStream:
    """Holds what the client has not read yet. The pieces of one answer are joined while it does not read.

    So text alone never fills the memory. Log-probabilities may: then `overflow` is called.
    """

    def __init__(self, end_tokens: Collection[int], overflow: Callable[[], None]) -> None:
        """The `end_tokens` are not part of a text, so clients get no log-probabilities of them."""
        self._end_tokens, self._overflow = end_tokens, overflow
        self._increments: dict[int, Increment] = {}
        self._bytes = 0
        self._filled = asyncio.Event()

    def put(self, index: int, piece: Piece) -> None:
        """Add a piece of the answer with this index."""
        self._increments.setdefault(index, Increment(index)).add(piece, piece.token not in self._end_tokens)
        self._bytes += len(piece.text)
        if piece.chosen is not None:
            self._bytes += CHOICE_BYTES * (1 + len(piece.chosen.top))
        self._filled.set()
        if self._bytes > MAX_BYTES:
            self._overflow()

    async def take(self) -> list[Increment]:
        """Return what has come since the last call, at least one increment."""
        await self._filled.wait()
        self._filled.clear()
        increments, self._increments, self._bytes = list(self._increments.values()), {}, 0
        return increments
