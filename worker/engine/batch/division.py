"""Divides a micro-batch among lanes: each computes a span of the token axis, at about the same cost."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from core.estimates.activations import QUERY_BLOCK
from worker.engine.batch.micro_batch import TILE, MicroBatch, Segment, Span
from worker.engine.batch.shared_keys import Lane, SharedKeys


@dataclass(frozen=True)
class Costs:
    """The additional costs of a token, as multiples of the cost of its products with the layers' weights."""

    key: float
    """The cost of each key that the token sees."""
    label: float
    """The cost of each label that the token predicts."""


EVEN = Costs(key=0.0, label=0.0)


def divided(batch: MicroBatch, lanes: int, costs: Costs, tile: int = TILE) -> list[MicroBatch]:
    """Return at most `lanes` parts in the order of the axis, each with a multiple of `tile` tokens.

    Segments may be cut. The end of the axis is filled up with tokens of the last adapter that have no labels.
    """
    batch = _filled(batch, tile)
    bounds = _bounds(batch, lanes, costs, tile)
    segments = [list(_within(batch.segments, span)) for span in pairwise(bounds)]
    shared = SharedKeys(bounds, [_seen(part, bounds) - {lane} for lane, part in enumerate(segments)])
    return [_part(batch, Lane(shared, number), part) for number, part in enumerate(segments)]


def _filled(batch: MicroBatch, tile: int) -> MicroBatch:
    end = len(batch.tokens_T)
    missing = -end % tile
    if not missing:
        return batch
    name, span = list(batch.adapter_tokens.items())[-1]
    return replace(
        batch,
        tokens_T=F.pad(batch.tokens_T, (0, missing)),
        positions_T=F.pad(batch.positions_T, (0, missing)),
        dropout_seeds_T=None if batch.dropout_seeds_T is None else F.pad(batch.dropout_seeds_T, (0, missing)),
        acting_T=None if batch.acting_T is None else F.pad(batch.acting_T, (0, missing)),
        segments=[*batch.segments, Segment(end, end + missing)],
        adapter_tokens={**batch.adapter_tokens, name: slice(span.start, end + missing)},
    )


def _bounds(batch: MicroBatch, lanes: int, costs: Costs, tile: int) -> list[int]:
    """Return the indices at which parts of about equal cost begin, and the end of the axis."""
    cost_T = np.concatenate([1 + costs.key * _keys(segment) for segment in batch.segments])
    labels_T = np.bincount(batch.supervised_S.numpy(), minlength=len(cost_T))
    sums_T = np.cumsum(cost_T + costs.label * labels_T)
    cuts = np.searchsorted(sums_T, sums_T[-1] * np.arange(1, lanes) / lanes)
    tiles = np.round((cuts + 1) / tile).astype(int)
    return sorted({0, *(tiles * tile).tolist(), len(cost_T)})


def _keys(segment: Segment) -> NDArray[np.int64]:
    """Return how many keys attention computes for each token of the segment: up to the end of its block."""
    ends = (np.arange(segment.length) // QUERY_BLOCK + 1) * QUERY_BLOCK
    return segment.prefix_length + np.minimum(ends, segment.length)


def _within(segments: Sequence[Segment], span: Span) -> Iterator[Segment]:
    """Yield the parts of the segments that lie in the span.

    If a segment begins before the span, its beginning joins the part's prefix.
    """
    for segment in segments:
        start, end = max(segment.start, span[0]), min(segment.end, span[1])
        if start < end:
            before = ((segment.start, start),) if segment.start < start else ()
            yield Segment(start, end, (*segment.prefix, *before))


def _seen(segments: Sequence[Segment], bounds: Sequence[int]) -> set[int]:
    """Return the lanes in whose parts the segments' prefixes lie."""
    spans = {span for segment in segments for span in segment.prefix}
    return {
        lane
        for start, end in spans
        for lane in range(bisect_right(bounds, start) - 1, bisect_right(bounds, end - 1))
    }


def _part(batch: MicroBatch, lane: Lane, segments: Sequence[Segment]) -> MicroBatch:
    ends = torch.tensor([lane.start, lane.end])
    seeds_T = batch.dropout_seeds_T
    learnt = slice(*torch.searchsorted(batch.supervised_S, ends).tolist())
    adapter_tokens = {
        name: slice(max(span.start, lane.start) - lane.start, min(span.stop, lane.end) - lane.start)
        for name, span in batch.adapter_tokens.items()
    }
    return replace(
        batch,
        tokens_T=batch.tokens_T[lane.start : lane.end],
        positions_T=batch.positions_T[lane.start : lane.end],
        segments=segments,
        adapter_tokens={name: span for name, span in adapter_tokens.items() if span.start < span.stop},
        supervised_S=batch.supervised_S[learnt] - lane.start,
        labels_S=batch.labels_S[learnt],
        weights_S=batch.weights_S[learnt],
        rows_S=batch.rows_S[learnt],
        message_weights_S=None if batch.message_weights_S is None else batch.message_weights_S[learnt],
        dropout_seeds_T=seeds_T if seeds_T is None else seeds_T[lane.start : lane.end],
        acting_T=None if batch.acting_T is None else batch.acting_T[lane.start : lane.end],
        lane=lane,
    )
