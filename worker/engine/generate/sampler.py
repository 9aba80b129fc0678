"""The sampler: it answers many requests at once on one resident base model, each with its own adapter."""

from dataclasses import dataclass
from pathlib import Path

from worker.engine.base.base_model import ResidentBase
from worker.engine.generate.adapters import ServedAdapter
from worker.engine.generate.requests import GenerationRequest, Piece


@dataclass(frozen=True)
class Limits:
    """What bounds the sampler's memory, and the time that one step takes.

    `cache_bytes` is the size of the pool of keys and values. A step computes at most `step_tokens` tokens of
    prompts beside the tokens that are generated, and at most `max_running` requests; others wait in the order
    of their arrival.
    """

    cache_bytes: int = 1 << 30
    step_tokens: int = 256
    max_running: int = 64


@dataclass(frozen=True)
class Load:
    """How busy the sampler is: requests that are computed, that wait, and the share of the pool in use."""

    running: int
    waiting: int
    pool_share: float


class Sampler:
    """Continuous batching on one base model. One thread calls every method.

    Each `step` computes the next chunk of every request: a token of those that generate, a part of the prompt
    of others. Requests join and leave between steps.
    """

    def __init__(self, base: ResidentBase, limits: Limits | None = None) -> None:
        self._base, self._limits = base, limits or Limits()

    @property
    def why_slow(self) -> str | None:
        """Why this base model is computed request by request through transformers; None on the fast path."""
        raise NotImplementedError

    def load_adapter(self, folder: Path, content_hash: str) -> ServedAdapter:
        """Load an adapter from PEFT's two files; the loader of an `AdapterCache` calls it, in any thread.

        Raises AdapterRefused if the files are damaged, hold numbers that are not finite, or do not fit the
        base model.
        """
        raise NotImplementedError

    def submit(self, request: GenerationRequest) -> None:
        """Take a request; its pieces come from the following steps.

        Raises RequestRefused if the prompt is too long or empty, or if a field or the grammar is wrong.
        """
        raise NotImplementedError

    def cancel(self, request_id: str) -> None:
        """Forget a request and free what it holds. Nothing more comes for it. An unknown id is ignored."""
        raise NotImplementedError

    def step(self) -> list[Piece]:
        """Compute one step, and return what it has added, at most one piece for each request."""
        raise NotImplementedError

    @property
    def idle(self) -> bool:
        """Whether a step would compute nothing."""
        raise NotImplementedError

    @property
    def load(self) -> Load:
        raise NotImplementedError

    @property
    def max_length(self) -> int:
        """The most tokens of a prompt and its answer together."""
        return self._base.entry.max_length

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of text that a token stands for; a special token's name in UTF-8."""
        raise NotImplementedError
