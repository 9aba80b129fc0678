"""A pass over the micro-batches of some jobs' rows. Each process computes its part, with all of its lanes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import zip_longest
from typing import Protocol

import torch
from torch import Tensor

from core.errors import TuneryError
from core.estimates.memory_plan import Recompute
from worker.engine.adapters.adapter import Adapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.grouping import Group, JobRows, cut_together, groups_of, numbered, portions
from worker.engine.batch.joining import joined_groups, supervised_spans
from worker.engine.batch.lanes import Lanes
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.batch.pack import pack_group
from worker.engine.batch.spread_work import SavedTokens, micro_batches_at_once
from worker.engine.decoders.head import head_losses
from worker.engine.decoders.text_decoder import TextDecoder
from worker.engine.kernels.loss import TokenLosses
from worker.engine.step.context import PassContext
from worker.engine.step.totals import RowTotals

FORWARD_COST = 1 / 3  # of a token in a pass without gradient; in a training pass it costs 1
ONE_LANE = Lanes(1)


class Abandoned(TuneryError):
    """A pass was ended before it had a result."""


class Sums(Protocol):
    """The sums that a pass adds up, part by part."""

    def add(self, batch: MicroBatch, losses: TokenLosses) -> None: ...


def run_pass(
    context: PassContext,
    decoder: TextDecoder,
    jobs: Sequence[JobRows],
    compute: Callable[[int, MicroBatch], TokenLosses],
    sums: Sums,
    shares: Sequence[Sequence[Group]] = (),
) -> None:
    """Compute this process's micro-batches of the jobs' rows, and add what `compute` returns to `sums`.

    `shares` are micro-batches of further jobs, already cut. `compute` gets the number of a lane and the
    lane's part of a micro-batch. Afterwards, the caller still has to add up `sums` over the processes. Raises
    Abandoned if `context.abandon` returns True before one of the micro-batches.
    """
    lanes = lanes_of(context.base, decoder)
    apart = any(job.apart for job in jobs) or any(share[0][0].job.apart for share in shares if share)
    join = apart and decoder is context.base.decoder and context.base.joins_jobs
    batches = micro_batches(context, jobs, join, shares)
    with context.processes.together(in_lockstep=context.base.sharded):
        finished = _compute_all(context, lanes, batches, join, compute, sums)
    if not finished:
        raise Abandoned


def micro_batches(
    context: PassContext,
    jobs: Sequence[JobRows],
    join: bool = False,
    shares: Sequence[Sequence[Group]] = (),
) -> Iterator[list[MicroBatch]]:
    """Yield this process's micro-batches, and move each to the device when it is needed.

    Those of a list are to be computed at once; without `join`, a list has one. Jobs that are not cut apart
    share micro-batches. `shares` are computed beside the jobs' first rows.

    Processes in lockstep need the same number of micro-batches. A process that has one less computes another
    one with the bare base model and weights of zero, which adds nothing to any sum.
    """
    base, processes = context.base, context.processes
    for portion, beside in zip_longest(portions(numbered(jobs)), [shares], fillvalue=()):
        cuts = [groups_of(cut, context.max_tokens, processes.size) for cut in cut_together(portion)]
        cuts += map(list, beside)
        mine = [group for groups in cuts for group in processes.part(groups)]
        for at_once in joined_groups(mine, context.max_tokens) if join else ([group] for group in mine):
            yield [pack_group(group, base.device) for group in at_once]
        for groups in cuts:
            if base.sharded and len(processes.part(groups)) * processes.size < len(groups):
                again = pack_group(groups[0], base.device)
                yield [replace(again, adapter_tokens={}, weights_S=torch.zeros_like(again.weights_S))]


def decoder_of(base: ResidentBase, adapters: Sequence[Adapter]) -> TextDecoder:
    """Return the decoder that all adapters share; without adapters, the base model's decoder.

    An adapter that has a decoder of its own trains alone.
    """
    if not adapters:
        return base.decoder
    decoder, *others = (adapter.decoder for adapter in adapters)
    assert all(other is decoder for other in others)
    return decoder


def lanes_of(base: ResidentBase, decoder: TextDecoder) -> Lanes:
    """Return the base model's lanes, or one lane if the decoder is not the base model's own.

    Only the base model's decoder keeps the gradients of several lanes apart.
    """
    return base.lanes if decoder is base.decoder else ONE_LANE


def _compute_all(
    context: PassContext,
    lanes: Lanes,
    batches: Iterable[Sequence[MicroBatch]],
    join: bool,
    compute: Callable[[int, MicroBatch], TokenLosses],
    sums: Sums,
) -> bool:
    """Compute the micro-batches with all lanes: those of a list at once, one list after another.

    Return False if `context.abandon` returned True before one of them, else True.
    """
    for batch in batches:
        if context.abandon():
            return False
        parts = lanes.parts_of(batch, join)
        with context.computing():
            computed = lanes.map(_taking_part(compute), parts)
        for part, losses in zip(parts, computed, strict=True):
            _add(part, losses, sums)
    return True


def _add(part: MicroBatch, losses: TokenLosses, sums: Sums) -> None:
    """Add the losses to the sums: of each member by itself, if there are members."""
    for member, span in supervised_spans(part):
        sums.add(member, losses.of(span))


def forward(
    decoder: TextDecoder,
    batch: MicroBatch,
    adapters: Sequence[Adapter],
    lane: int,
    recompute: Recompute = Recompute.NONE,
) -> TokenLosses:
    """Return the losses of a lane's part of a micro-batch."""
    factors = {adapter.name: adapter.low_ranks(lane) for adapter in adapters}
    hidden_SD = decoder.hidden(batch, factors, recompute)
    return head_losses(hidden_SD, decoder.head_weight, decoder.softcap, batch.labels_S, batch.weights_S)


def _taking_part(
    compute: Callable[[int, MicroBatch], TokenLosses],
) -> Callable[[int, MicroBatch], TokenLosses]:
    """Return `compute` where each member shares keys and values with the other lanes, if there are any."""

    def compute_part(lane: int, part: MicroBatch) -> TokenLosses:
        with ExitStack() as stack:
            for member in part.members_or_itself:
                if member.lane:
                    stack.enter_context(member.lane.taking_part())
            return compute(lane, part)

    return compute_part


def row_sums(context: PassContext, adapters: Sequence[Adapter], jobs: Sequence[JobRows]) -> Tensor:
    """Return the sums of each row, in the jobs' order, [3, X], as in `RowTotals.sums_3X`, on the CPU.

    They are computed without gradient. Without adapters, the bare base model computes the rows. Raises
    Abandoned as `run_pass` does.
    """
    totals = RowTotals(sum(len(job.rows) for job in jobs), context.base.device)
    _add_row_sums(context, adapters, totals, jobs)
    return context.processes.sum(totals.sums_3X).cpu()


class SpreadRowPass:
    """What `row_sums` computes for one job, of which each round computes some micro-batches."""

    def __init__(self, context: PassContext, job: JobRows) -> None:
        self.job, self.max_tokens = job, context.max_tokens
        self._left = deque(micro_batches_at_once(job, context.max_tokens, context.processes.size))
        self._totals = RowTotals(len(job.rows), context.base.device)

    def advance(self, context: PassContext, adapters: Sequence[Adapter], saved: SavedTokens) -> Tensor | None:
        """Compute the micro-batches that the tokens suffice for. Return the sums if none is left.

        Raises Abandoned as `run_pass` does. After an error, the pass must begin again.
        """
        if groups := saved.take(self._left, FORWARD_COST):
            _add_row_sums(context, adapters, self._totals, shares=[groups])
        return None if self._left else context.processes.sum(self._totals.sums_3X).cpu()


@torch.no_grad()
def _add_row_sums(
    context: PassContext,
    adapters: Sequence[Adapter],
    totals: RowTotals,
    jobs: Sequence[JobRows] = (),
    shares: Sequence[Sequence[Group]] = (),
) -> None:
    decoder = decoder_of(context.base, adapters)

    @torch.no_grad()  # the setting above does not hold on the threads of the lanes
    def compute(lane: int, part: MicroBatch) -> TokenLosses:
        return forward(decoder, part if adapters else replace(part, adapter_tokens={}), adapters, lane)

    run_pass(context, decoder, jobs, compute, totals, shares)
