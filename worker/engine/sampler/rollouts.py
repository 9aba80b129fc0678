"""Rollouts: sampled answers of an adapter that trains, with the log-probabilities of its policy.

The policy is the model as it is, at temperature 1. A grammar only bounds what may be drawn from it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from worker.engine.adapters.adapter import Adapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.in_training import Asked, pieces_in_training
from worker.engine.sampler.requests import Grammar, Piece, Sampling
from worker.rows.image_store import ImageStore


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
class Turn:
    """One turn of an answer to the prompt of one line: the tokens before it, and how it is sampled."""

    line: int
    before_L: NDArray[np.int32]
    asked: Asked


def turn_of(
    line: int,
    before_L: NDArray[np.int32],
    generation: Generation,
    number: int,
    turn: int = 0,
    used: int = 0,
    images: ImageStore | None = None,
) -> Turn:
    """Return a turn of the answer with this number. Answers to a prompt and their turns count from 0.

    `used` are the tokens that the answer has before the turn, and `images` the vectors of the prompt's.
    """
    seed = answer_seed(generation.seed, line, number, turn)
    sampling = Sampling(generation.max_tokens - used, logprobs=True, seed=seed)
    return Turn(line, before_L, Asked(before_L.tolist(), sampling, generation.grammar, images))


@dataclass(frozen=True)
class Sampled:
    """A sampled turn of an answer to the prompt of one line, behind the tokens `prompt_L`.

    `tokens` are those of the turn. The last one is the token that ended it, unless the turn was cut off
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

    def of(self, turn: Turn) -> Sampled:
        assert self.last is not None, "each answer has a last piece"
        return Sampled(
            turn.line,
            turn.before_L,
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
    turns: Sequence[Turn],
    max_tokens: int,
    abandon: Callable[[], bool] = lambda: False,
) -> list[Sampled]:
    """Sample each turn, and return them in their order.

    Turns whose beginnings are alike share their computation. As many as have `max_tokens` tokens together,
    those before them included, are computed at once, and the others later. On the slow path each is computed
    alone. One that cannot be computed has an `error`, and the others go on. Raises Abandoned if `abandon`
    returns true between two tokens.
    """
    growing = [_Growing() for _ in turns]
    asked = [each.asked for each in turns]
    for number, piece in pieces_in_training(base, adapter, asked, max_tokens, abandon):
        growing[number].add(piece)
    return [one.of(turn) for one, turn in zip(growing, turns, strict=True)]


def answer_seed(seed: int, line: int, number: int, turn: int = 0) -> int:
    """Return the seed of one turn of an answer: of 64 bits, and unlike those of all others."""
    name = f"{seed}:{line}:{number}" + (f":{turn}" if turn else "")
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
