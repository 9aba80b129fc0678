"""Adapters as the sampler computes with them: immutable, and named by the hash of their content."""

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class ServedAdapter:
    """One adapter that is ready to be used on the resident base model.

    `content_hash` names its content: a cached beginning is found by it, so that two adapters with the same
    name never share one. `nbytes` is the memory that it takes. `why_slow` says why requests for it are
    computed one by one through PEFT; None if they take the fast path.
    """

    content_hash: str
    nbytes: int
    why_slow: str | None = None
