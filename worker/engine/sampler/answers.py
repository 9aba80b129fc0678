"""Answers of a model, in the middle of its training, to the prompts of some rows.

The sampler computes them, with the present factors from memory. The likeliest token always comes next.
Training goes on as if nothing had happened: no random number is drawn, and no mode is changed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from worker.engine.adapters.adapter import Adapter
from worker.engine.adapters.shapes import projection_shapes
from worker.engine.base.base_model import ResidentBase
from worker.engine.kernels.experts.layer import ExpertUpdate
from worker.engine.kernels.projection import Share
from worker.engine.sampler.adapters.served import ServedAdapter, factors_in_training
from worker.engine.sampler.fast.computation import FastComputation, cache_bytes_for
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

    Several prompts are computed at once, with at most `max_tokens` together, unless the adapter or the base
    model takes the slow path. Raises Abandoned if `abandon` returns true between two tokens.
    """
    adapter.parameters.refresh()
    prompts = [row.tokens_L[: answer_span(row).start].tolist() for row in rows]
    most = max_new_tokens + 1  # the token that ends an answer is none of the answer's own
    longest = [min(len(prompt) + most, base.entry.max_length) for prompt in prompts]
    sampler = Sampler(base, _limits(base, adapter, longest, max_tokens))
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


def _limits(base: ResidentBase, adapter: Adapter, texts: Sequence[int], max_tokens: int) -> Limits:
    """Return limits with a pool for the longest texts that have `max_tokens` together, and for at least one.

    On the slow path one answer at a time has a cache.
    """
    if not _computes_at_once(base, adapter):
        return Limits(cache_bytes=0, max_running_slowly=1)
    longest_first = sorted(texts, reverse=True)
    ends = accumulate(longest_first)
    fitting = [text for text, end in zip(longest_first, ends, strict=True) if end <= max_tokens]
    return Limits(cache_bytes=cache_bytes_for(base, fitting or longest_first[:1]), max_running_slowly=1)


def _computes_at_once(base: ResidentBase, adapter: Adapter) -> bool:
    """Return whether one step computes several texts: the adapter must be factors on the base's own layers.

    The processes that share a sharded model would have to take the same steps.
    """
    return adapter.decoder is base.decoder and FastComputation.takes(base) and not base.sharded


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

    The adapter is its factors, or a model that has the factors while the context lasts.
    """
    if _computes_at_once(base, adapter):
        return _with_factors(base, adapter), nullcontext
    in_place = partial(_in_place, base, adapter)
    with in_place() as model:
        why_slow = f"its path is {adapter.decoder.path}"
        served = ServedAdapter(adapter.name, 0, why_slow, model=model, invocation=adapter.invocation)
        return served, in_place


def _with_factors(base: ResidentBase, adapter: Adapter) -> ServedAdapter:
    """Return the adapter with a copy of its present factors, and with those of experts as they are."""
    groups, low_ranks = base.decoder.groups, adapter.low_ranks()
    shapes = projection_shapes(base.model, groups)
    outputs = {name: sum(shapes[each][1] for each in group.columns) for name, group in groups.items()}
    experts = {
        name: ExpertUpdate.of(Share(slice(None), low_ranks[name]), count)
        for name, (count, *_) in base.decoder.experts.items()
        if name in low_ranks
    }
    of_layers = {name: each for name, each in low_ranks.items() if name in groups}
    factors = factors_in_training(of_layers, outputs, base.dtype)
    return ServedAdapter(adapter.name, 0, factors=factors, experts=experts, invocation=adapter.invocation)


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
