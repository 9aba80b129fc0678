"""Joins micro-batches that were cut by themselves, so that they are computed at once.

A job may ask for a result that does not depend on the jobs beside it, to the bit. Its rows are cut by
themselves: into micro-batches, and each micro-batch into the parts of the lanes. Then these parts and those
of other jobs are laid end to end on one token axis. The products with the base's weights and all other work
on single tokens go over the whole axis. Everything that brings tokens together is computed for each part by
itself: attention, and the sums over tokens in the gradients.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.batch.grouping import Group, evenly_filled, group_tokens
from worker.engine.batch.images import is_image
from worker.engine.batch.micro_batch import TILE, MicroBatch


def whole_tiles(count: int) -> int:
    """Return the next multiple of TILE."""
    return -(-count // TILE) * TILE


def joined_groups(groups: Sequence[Group], max_tokens: int) -> list[list[Group]]:
    """Return lists of neighbours to compute at once: as few as possible, and of similar size.

    A list has at most `max_tokens` tokens, or is one longer group. It has at most one group of each job, as a
    job alone never computes two of its groups at once, and at most one of the jobs that are cut together.
    """
    return evenly_filled(lambda limit: _filled(groups, limit), max_tokens)


def _filled(groups: Sequence[Group], limit: int) -> list[list[Group]]:
    lists: list[list[Group]] = []
    tokens = 0
    for group in groups:
        size = whole_tiles(group_tokens(group))
        tokens += size
        if not lists or tokens > limit or _cut_of(lists[-1][-1]) == _cut_of(group):
            lists.append([])
            tokens = size
        lists[-1].append(group)
    return lists


def _cut_of(group: Group) -> str | None:
    """Return the job that was cut apart, or None for the jobs that were cut together."""
    job = group[0].job
    return job.adapter if job.apart else None


def joined(members: Sequence[MicroBatch]) -> MicroBatch:
    """Return one micro-batch, or lane's part, with the tokens of all members in their order.

    The supervised tokens of each member are filled up to whole tiles: with tokens that are repeated, and
    whose weight is 0.
    """
    ends = list(accumulate(len(member.tokens_T) for member in members))
    starts = list(zip(members, [0, *ends], strict=False))
    drops = any(member.dropout_seeds_T is not None for member in members)
    partly = any(member.acting_T is not None for member in members)
    images = [member.images_ID for member in members if member.images_ID is not None]
    return MicroBatch(
        tokens_T=torch.cat(list(_tokens(members))),
        positions_T=torch.cat([member.positions_T for member in members]),
        segments=(),
        adapter_tokens={
            name: slice(start + span.start, start + span.stop)
            for member, start in starts
            for name, span in member.adapter_tokens.items()
        },
        supervised_S=torch.cat([start + with_whole_tiles(member.supervised_S) for member, start in starts]),
        labels_S=torch.cat([filled_up(member.labels_S) for member in members]),
        weights_S=torch.cat([filled_up(member.weights_S) for member in members]),
        rows_S=torch.cat([filled_up(member.rows_S) for member in members]),
        dropout_seeds_T=torch.cat([_seeds(member) for member in members]) if drops else None,
        acting_T=torch.cat([_acting(member) for member in members]) if partly else None,
        images_ID=torch.cat(images) if images else None,
        members=tuple(members),
    )


def supervised_spans(part: MicroBatch) -> Iterator[tuple[MicroBatch, slice]]:
    """Yield each member of a part, or the part itself, with its span of the supervised tokens."""
    start = 0
    for member in part.members_or_itself:
        count = len(member.supervised_S)
        yield member, slice(start, start + count)
        start += whole_tiles(count)


def with_whole_tiles(positions_S: Tensor) -> Tensor:
    """Fill the positions up to a multiple of TILE by repeating the last one."""
    return torch.cat([positions_S, positions_S[-1:].expand(-len(positions_S) % TILE)])


def filled_up(values_S: Tensor) -> Tensor:
    """Fill the values of supervised tokens up to a multiple of TILE with zeros."""
    return F.pad(values_S, (0, -len(values_S) % TILE))


def _tokens(members: Sequence[MicroBatch]) -> Iterator[Tensor]:
    """Yield the tokens of each member. The vectors of its images follow those of the members before it."""
    before = 0
    for member in members:
        if member.images_ID is None:
            yield member.tokens_T
        else:
            yield torch.where(is_image(member.tokens_T), member.tokens_T + before, member.tokens_T)
            before += len(member.images_ID)


def _seeds(member: MicroBatch) -> Tensor:
    seeds_T = member.dropout_seeds_T
    return torch.zeros_like(member.tokens_T, dtype=torch.int32) if seeds_T is None else seeds_T


def _acting(member: MicroBatch) -> Tensor:
    acting_T = member.acting_T
    return torch.ones_like(member.tokens_T, dtype=torch.bool) if acting_T is None else acting_T
