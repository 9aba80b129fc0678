"""Answers of a model, in the middle of its training, to the prompts of some rows.

The sampler computes them, with the present factors from memory. The likeliest token always comes next.
Training goes on as if nothing had happened: no random number is drawn, and no mode is changed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from worker.engine.adapters.adapter import Adapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.fast import Decoder
from worker.engine.sampler.adapters.served import ServedAdapter, factors_in_training
from worker.engine.sampler.fast.block_pool import BLOCK
from worker.engine.sampler.fast.ragged import RaggedDecoder
from worker.engine.sampler.requests import GenerationRequest, Piece, Sampling
from worker.engine.sampler.sampler import Limits, Sampler
from worker.engine.step.passes import Abandoned
from worker.rows.row import Row

Tokens = Sequence[int]


@dataclass(frozen=True)
class Answer:
    """The answer to the prompt of one row. The texts have no special tokens.

    `expected` is the row's own answer, None if that is undesirable. `finished` is false if the model was cut
    off: at the most tokens that an answer may have, or by the `error`, a sentence for the client.
    """

    line: int
    prompt: str
    expected: str | None
    answer: str
    finished: bool
    error: str | None = None


def generate_answers(
    base: ResidentBase,
    adapter: Adapter,
    rows: Sequence[Row],
    max_new_tokens: int,
    max_tokens: int,
    abandon: Callable[[], bool] = lambda: False,
) -> list[Answer]:
    """Answer the prompt before each row's last answer, with at most `max_new_tokens`.

    On the fast path several prompts are computed at once, with at most `max_tokens` together. Raises
    Abandoned if `abandon` returns true between two tokens.
    """
    adapter.parameters.refresh()
    prompts = [row.tokens_L[: answer_span(row).start].tolist() for row in rows]
    most = max_new_tokens + 1  # the token that ends an answer is none of the answer's own
    sampler = Sampler(base, _limits(adapter, max(max_tokens, max(map(len, prompts)) + most)))
    sampling = Sampling(most, temperature=0, stop_tokens=_learnt_ends(base, rows))
    tokens: list[list[int]] = [[] for _ in rows]
    ends: dict[int, Piece] = {}
    served, in_place = _served(base, adapter)
    for number, prompt in enumerate(prompts):
        sampler.submit(GenerationRequest(str(number), prompt, sampling, served))
    while not sampler.idle:
        _raise_if(abandon)
        with in_place():  # left before `abandon`, in which others compute with the same layers
            pieces = sampler.step()
        for piece in pieces:
            number = int(piece.request_id)
            if piece.token is not None and piece.finish_reason != "stop":
                tokens[number].append(piece.token)
            if piece.finish_reason is not None:
                ends[number] = piece
    return [
        _answer(base, row, tokens[number][:max_new_tokens], ends[number]) for number, row in enumerate(rows)
    ]


def _limits(adapter: Adapter, tokens: int) -> Limits:
    """Return limits with a pool for so many tokens; elsewhere, one answer at a time has a cache."""
    decoder = adapter.decoder
    nbytes = RaggedDecoder.block_bytes(decoder) if isinstance(decoder, Decoder) else 0
    return Limits(cache_bytes=-(-tokens // BLOCK) * nbytes, max_running_slowly=1)


def answer_span(row: Row) -> slice:
    """Return the position of the last answer: the last span of learnt tokens."""
    learnt = np.flatnonzero(row.learnt_L)
    breaks = np.flatnonzero(np.diff(learnt) > 1)
    start = learnt[breaks[-1] + 1] if len(breaks) else learnt[0]
    return slice(int(start), int(learnt[-1]) + 1)


def _answer(base: ResidentBase, row: Row, tokens: Tokens, end: Piece) -> Answer:
    def text(part: Tokens) -> str:
        return str(base.tokenizer.decode(part, skip_special_tokens=True)).strip()

    expected = answer_span(row)
    return Answer(
        row.line,
        text(row.tokens_L[: expected.start].tolist()),
        text(row.tokens_L[expected].tolist()) if row.desirable else None,
        text(tokens),
        end.finish_reason == "stop",
        end.error,
    )


def _learnt_ends(base: ResidentBase, rows: Sequence[Row]) -> frozenset[int]:
    """Return the special tokens at the ends of the rows' own answers: they end an answer too."""
    learnt = {int(row.tokens_L[answer_span(row).stop - 1]) for row in rows}
    return frozenset(learnt & set(base.tokenizer.all_special_ids))


def _raise_if(abandon: Callable[[], bool]) -> None:
    if abandon():
        raise Abandoned


def _served(
    base: ResidentBase, adapter: Adapter
) -> tuple[ServedAdapter, Callable[[], AbstractContextManager[object]]]:
    """Return the adapter as the sampler computes with it, and the context of each step of the sampler.

    The adapter is a copy of its factors, or a model that has the factors while the context lasts.
    """
    if isinstance(decoder := adapter.decoder, Decoder):
        outputs = {name: group.weight.shape[0] for name, group in decoder.groups.items()}
        factors = factors_in_training(adapter.low_ranks(), outputs, base.dtype)
        return ServedAdapter(adapter.name, 0, factors=factors, invocation=adapter.invocation), nullcontext
    in_place = partial(_in_place, base, adapter)
    with in_place() as model:
        why_slow = f"its path is {decoder.path}"
        served = ServedAdapter(adapter.name, 0, why_slow, model=model, invocation=adapter.invocation)
        return served, in_place


@contextmanager
def _in_place(base: ResidentBase, adapter: Adapter) -> Iterator[Any]:
    """Yield the model that answers. Inside it has the adapter, and the attention of transformers."""
    with _attention_set_to(adapter.plain_model, base.own_attention), adapter.answering() as model:
        yield model


@contextmanager
def _attention_set_to(model: Any, name: str) -> Iterator[None]:
    """Set the model's attention inside: transformers' own, because the engine's attention has no cache."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
