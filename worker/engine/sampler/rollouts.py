"""Rollouts: sampled answers of an adapter that trains, with the log-probabilities of its policy.

The policy is the model as it is, at temperature 1. A grammar only bounds what may be drawn from it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from worker.engine.adapters.adapter import Adapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.in_training import Asked, pieces_in_training
from worker.engine.sampler.requests import Grammar, Piece, Sampling
from worker.rows.row import Row


@dataclass(frozen=True)
class Generation:
    """What is asked for each prompt: `count` answers of at most `max_tokens` tokens, their end included.

    The draws of an answer follow from `seed`, the prompt's line, and the answer's number.
    """

    count: int
    max_tokens: int
    seed: int
    grammar: Grammar | None = None


@dataclass(frozen=True)
class Sampled:
    """A sampled answer to the prompt of one line.

    `tokens` are those of the answer. The last one is the token that ended it, unless the answer was cut off
    or a grammar was complete. `logprobs` (nats) are the model's own: without the grammar, if there is one.
    `forced` says which tokens were the only ones that the grammar admitted. The policy has not chosen them,
    so they are not learnt. `text` is the answer as a chat shows it, without special tokens. `finished` is
    false if the answer was cut off: at the most tokens, or by the `error`, a sentence for the client.
    """

    line: int
    prompt_L: NDArray[np.int32]
    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    forced: NDArray[np.bool_]
    text: str
    finished: bool
    error: str | None = None


@dataclass
class _Growing:
    """An answer while its pieces come."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    last: Piece | None = None

    def add(self, piece: Piece) -> None:
        self.text.append(piece.text)
        if piece.token is not None and piece.chosen is not None:
            self.tokens.append(piece.token)
            self.logprobs.append(piece.chosen.logprob)
            self.forced.append(piece.is_forced)
        self.last = piece

    def of(self, prompt: Row) -> Sampled:
        assert self.last is not None, "each answer has a last piece"
        return Sampled(
            prompt.line,
            prompt.tokens_L,
            np.array(self.tokens, np.int32),
            np.array(self.logprobs, np.float32),
            np.array(self.forced, np.bool_),
            "".join(self.text),
            self.last.finish_reason == "stop",
            self.last.error,
        )


def generate_rollouts(
    base: ResidentBase,
    adapter: Adapter,
    prompts: Sequence[Row],
    asked: Generation,
    max_tokens: int,
    abandon: Callable[[], bool] = lambda: False,
) -> list[Sampled]:
    """Sample `asked.count` answers to each prompt, and return those to one prompt side by side.

    All tokens of a prompt's row are the prompt. The answers to it share its computation. As many answers as
    have `max_tokens` tokens together, prompts included, are computed at once; the others wait for their
    turn. On the slow path each is computed alone. An answer that cannot be computed has an `error`, and the
    others go on. Raises Abandoned if `abandon` returns true between two tokens.
    """
    requests = list(_requests(prompts, asked))
    growing = [_Growing() for _ in requests]
    for number, piece in pieces_in_training(base, adapter, requests, max_tokens, abandon):
        growing[number].add(piece)
    return [one.of(prompts[number // asked.count]) for number, one in enumerate(growing)]


def _requests(prompts: Sequence[Row], asked: Generation) -> Iterator[Asked]:
    for prompt in prompts:
        tokens = prompt.tokens_L.tolist()
        for number in range(asked.count):
            seed = answer_seed(asked.seed, prompt.line, number)
            yield Asked(tokens, Sampling(asked.max_tokens, logprobs=True, seed=seed), asked.grammar)


def answer_seed(seed: int, line: int, number: int) -> int:
    """Return the seed of one answer: of 64 bits, and unlike those of all other lines and numbers."""
    digest = blake2b(f"{seed}:{line}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)
