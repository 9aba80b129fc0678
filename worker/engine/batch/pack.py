"""Packs a round's rows end to end on token axes, without padding. A shared beginning is packed only once.

Rows of one adapter that begin alike within a micro-batch share that beginning: its tokens are computed once,
and the rest of each row sees them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from worker.engine.batch.dropout import token_seeds
from worker.engine.batch.grouping import Group, JobRows, Placed, groups_of, numbered
from worker.engine.batch.images import ImageVectors
from worker.engine.batch.micro_batch import MicroBatch, Segment, Span
from worker.engine.device.transfer import on_device


def pack(
    jobs: Sequence[JobRows], max_tokens: int, device: torch.device, multiple: int = 1
) -> Iterator[MicroBatch]:
    """Yield a micro-batch for each group of rows that `grouping.groups_of` returns."""
    for group in groups_of(numbered(jobs), max_tokens, multiple):
        yield pack_group(group, device)


_Branch = tuple[list[Placed], int, tuple[Span, ...]]
"""Rows that share more than so many first tokens, which stand in these spans."""


@dataclass
class _Axis:
    """The token axis of a micro-batch as it grows."""

    length: int = 0
    segments: list[Segment] = field(default_factory=list)
    adapter_tokens: dict[str, slice] = field(default_factory=dict)
    tokens: list[NDArray[np.int32]] = field(default_factory=list)
    positions: list[NDArray[np.int64]] = field(default_factory=list)
    supervised: list[NDArray[np.int64]] = field(default_factory=list)
    labels: list[NDArray[np.int32]] = field(default_factory=list)
    weights: list[NDArray[np.float32]] = field(default_factory=list)
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    message_weights: list[NDArray[np.float32]] = field(default_factory=list)
    weighted: bool = False
    seeds: list[NDArray[np.int32]] = field(default_factory=list)
    drops: bool = False
    acting: list[NDArray[np.bool_]] = field(default_factory=list)
    images: ImageVectors = field(default_factory=ImageVectors)

    def add_segment(self, placed: Placed, end_in_row: int, prefix: tuple[Span, ...]) -> Span:
        """Append the row's tokens from the end of `prefix` up to `end_in_row`. They see the prefix."""
        position = sum(end - start for start, end in prefix)
        own = slice(position, end_in_row)
        self._add_seeds(placed, own)
        self.acting.append(np.arange(own.start, own.stop) >= placed.row.acts_from)
        tokens_L = placed.row.tokens_L[own]
        start, end = self.length, self.length + len(tokens_L)
        self.segments.append(Segment(start, end, prefix))
        self.tokens.append(self.images.add(tokens_L, placed.row.images))
        self.positions.append(np.arange(position, position + len(tokens_L)))
        self.length = end
        return start, end

    def _add_seeds(self, placed: Placed, own: slice) -> None:
        seed = placed.job.dropout_seed
        if seed is None:
            self.seeds.append(np.zeros(own.stop - own.start, dtype=np.int32))
            return
        self.drops = True
        self.seeds.append(token_seeds(placed.row.tokens_L, seed)[own])

    def supervise(self, placed: Placed, spans: Sequence[Span]) -> None:
        """Add the labels of the row, whose tokens stand in `spans`."""
        row = placed.row
        learnt = np.flatnonzero(row.learnt_L[1:])
        where = np.concatenate([np.arange(start, end) for start, end in spans])
        self.supervised.append(where[learnt])
        self.labels.append(row.tokens_L[learnt + 1])
        weights = np.full(len(learnt), placed.weight, dtype=np.float32)
        message_weights = np.ones(len(learnt), dtype=np.float32)
        if row.weights_L is not None:
            self.weighted = True
            message_weights = row.weights_L[learnt + 1]
            weights *= message_weights
        self.weights.append(weights)
        self.message_weights.append(message_weights)
        self.rows.append(np.full(len(learnt), placed.number))

    def micro_batch(self, device: torch.device) -> MicroBatch:
        supervised = np.concatenate(self.supervised)
        order = np.argsort(supervised, kind="stable")
        indices_S = torch.from_numpy(supervised[order])

        acting = np.concatenate(self.acting)

        def sent(values: np.ndarray) -> torch.Tensor:
            return on_device(torch.from_numpy(values), device)

        return MicroBatch(
            tokens_T=sent(np.concatenate(self.tokens)).long(),
            positions_T=sent(np.concatenate(self.positions)),
            segments=self.segments,
            adapter_tokens=self.adapter_tokens,
            supervised_S=on_device(indices_S, device),
            labels_S=sent(np.concatenate(self.labels)[order]).long(),
            weights_S=sent(np.concatenate(self.weights)[order]),
            rows_S=sent(np.concatenate(self.rows)[order]),
            message_weights_S=sent(np.concatenate(self.message_weights)[order]) if self.weighted else None,
            dropout_seeds_T=sent(np.concatenate(self.seeds)) if self.drops else None,
            acting_T=None if acting.all() else sent(acting),
            images_ID=self.images.on(device),
            host_supervised_S=None if device.type == "cpu" else indices_S,
        )


def pack_group(rows: Group, device: torch.device) -> MicroBatch:
    """Return the micro-batch of a group."""
    axis = _Axis()
    for job, group in _by_job(rows):
        start = axis.length
        _pack_trie(axis, group)
        axis.adapter_tokens[job.adapter] = slice(start, axis.length)
    return axis.micro_batch(device)


def _pack_trie(axis: _Axis, rows: Sequence[Placed]) -> None:
    """Append rows, and each beginning that some of them share only once."""
    waiting = _branches(rows, 0, ())
    while waiting:
        group, depth, prefix = waiting.pop()
        common = min((placed.common for placed in group[1:]), default=len(group[0].row.tokens_L))
        spans = prefix
        if common > depth:
            spans = (*prefix, axis.add_segment(group[0], common, prefix))
        longer = []
        for placed in group:
            if len(placed.row.tokens_L) == common:
                axis.supervise(placed, spans)
            else:
                longer.append(placed)
        waiting += _branches(longer, common, spans)


def _branches(rows: Sequence[Placed], depth: int, prefix: tuple[Span, ...]) -> list[_Branch]:
    """Return lists of neighbours that share tokens beyond `depth`, from the last to the first.

    Their first `depth` tokens stand in the spans of `prefix`.
    """
    branches: list[_Branch] = []
    for placed in rows:
        if not branches or placed.common <= depth:
            branches.append(([], depth, prefix))
        branches[-1][0].append(placed)
    return branches[::-1]


def _by_job(rows: Sequence[Placed]) -> Iterator[tuple[JobRows, list[Placed]]]:
    """Yield each job with its rows."""
    start = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index].job is not rows[start].job:
            yield rows[start].job, list(rows[start:index])
            start = index
