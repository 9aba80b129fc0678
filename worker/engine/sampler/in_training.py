"""The sampler on an adapter that trains: with its present factors, from memory.

Training goes on as if nothing had happened: no random number is drawn, and no mode is changed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

from worker.engine.adapters.adapter import Adapter
from worker.engine.adapters.shapes import projection_shapes
from worker.engine.base.base_model import ResidentBase
from worker.engine.kernels.experts.layer import ExpertUpdate
from worker.engine.kernels.projection import Share
from worker.engine.sampler.adapters.served import ServedAdapter, factors_in_training
from worker.engine.sampler.fast.computation import FastComputation, cache_bytes_for
from worker.engine.sampler.requests import GenerationRequest, Grammar, Piece, RequestRefused, Sampling
from worker.engine.sampler.sampler import Limits, Sampler
from worker.engine.step.passes import Abandoned
from worker.rows.image_store import ImageStore


@dataclass(frozen=True)
class Asked:
    """A prompt that the adapter answers, and how."""

    prompt: Sequence[int]
    sampling: Sampling
    grammar: Grammar | None = None
    images: ImageStore | None = None
    """The vectors of the prompt's tokens that stand for images"""


def pieces_in_training(
    base: ResidentBase,
    adapter: Adapter,
    asked: Sequence[Asked],
    max_tokens: int,
    abandon: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Piece]]:
    """Yield the pieces of all answers as they come, each with the number of its answer.

    Several answers are computed at once, with at most `max_tokens` tokens together, unless the adapter or the
    base model takes the slow path. An answer that is refused has one piece, with the error. Raises Abandoned
    if `abandon` returns true between two tokens.
    """
    adapter.parameters.refresh()
    longest = [min(len(each.prompt) + each.sampling.max_tokens, base.entry.max_length) for each in asked]
    sampler = Sampler(base, _limits(base, adapter, longest, max_tokens))
    served, in_place = _served(base, adapter)
    for number, each in enumerate(asked):
        request = GenerationRequest(
            str(number), each.prompt, each.sampling, served, each.grammar, images=each.images
        )
        try:
            sampler.submit(request)
        except RequestRefused as error:
            yield number, Piece(request.id, None, "", finish_reason="error", error=error.message)
    while not sampler.idle:
        if abandon():
            raise Abandoned
        with in_place():  # left before `abandon`, in which others compute with the same layers
            pieces = sampler.step()
        for piece in pieces:
            yield int(piece.request_id), piece


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
