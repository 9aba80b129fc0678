"""One pass over the micro-batches of some jobs' rows. Each process computes its part, with all its lanes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Protocol

import torch

from core.errors import TuneryError
from worker.engine.adapters.adapter import Adapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.head import head_losses
from worker.engine.base.text_decoder import TextDecoder
from worker.engine.batch.grouping import JobRows, groups_of
from worker.engine.batch.lanes import Lanes
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.batch.pack import lay
from worker.engine.kernels.loss import TokenLosses
from worker.engine.step.context import PassContext

ONE_LANE = Lanes(1)


class Abandoned(TuneryError):
    """A pass was ended before its result."""


class Sums(Protocol):
    """What a pass adds up, part by part."""

    def add(self, batch: MicroBatch, losses: TokenLosses) -> None: ...


def run_pass(
    context: PassContext,
    decoder: TextDecoder,
    jobs: Sequence[JobRows],
    compute: Callable[[int, MicroBatch], TokenLosses],
    sums: Sums,
) -> None:
    """Compute this process's micro-batches of the jobs' rows, and add what `compute` returns to `sums`.

    `compute` gets the number of a lane and the lane's part of a micro-batch. `sums` are not yet summed over
    the processes afterwards. Raises Abandoned when `context.abandon` returns True before a micro-batch.
    """
    lanes = lanes_of(context.base, decoder)
    batches = micro_batches(context, jobs)
    with context.processes.together(in_step=context.base.sharded):
        finished = _compute_all(lanes, batches, compute, sums, context.abandon)
    if not finished:
        raise Abandoned


def micro_batches(context: PassContext, jobs: Sequence[JobRows]) -> Iterator[MicroBatch]:
    """Yield this process's micro-batches, and move each to the device when its turn comes.

    Processes that compute in step need equally many. A process that has fewer computes one more with
    the bare base model and weights of zero, which adds nothing to any sum.
    """
    base, processes = context.base, context.processes
    groups = groups_of(jobs, context.max_tokens, processes.size)
    mine = processes.part(groups)
    for group in mine:
        yield lay(group, base.device)
    if base.sharded and len(mine) * processes.size < len(groups):
        again = lay(groups[0], base.device)
        yield replace(again, adapter_tokens={}, weights_S=torch.zeros_like(again.weights_S))


def decoder_of(base: ResidentBase, adapters: Sequence[Adapter]) -> TextDecoder:
    """The one that all of them share: an adapter with its own trains alone. Without any, the base's."""
    if not adapters:
        return base.decoder
    decoder, *others = (adapter.decoder for adapter in adapters)
    assert all(other is decoder for other in others)
    return decoder


def lanes_of(base: ResidentBase, decoder: TextDecoder) -> Lanes:
    """Only the base's own decoder keeps the lanes' gradients apart."""
    return base.lanes if decoder is base.decoder else ONE_LANE


def _compute_all(
    lanes: Lanes,
    batches: Iterable[MicroBatch],
    compute: Callable[[int, MicroBatch], TokenLosses],
    sums: Sums,
    abandon: Callable[[], bool],
) -> bool:
    """One after another, each by all lanes; False where `abandon` said so before one of them."""
    for batch in batches:
        if abandon():
            return False
        parts = lanes.parts_of(batch)
        for part, losses in zip(parts, lanes.map(_taking_part(compute), parts), strict=True):
            sums.add(part, losses)
    return True


def forward(decoder: TextDecoder, batch: MicroBatch, adapters: Sequence[Adapter], lane: int) -> TokenLosses:
    hidden_SD = decoder.hidden(batch, {adapter.name: adapter.low_ranks(lane) for adapter in adapters})
    return head_losses(hidden_SD, decoder.head_VD, decoder.softcap, batch.labels_S, batch.weights_S)


def _taking_part(
    compute: Callable[[int, MicroBatch], TokenLosses],
) -> Callable[[int, MicroBatch], TokenLosses]:
    def compute_part(lane: int, part: MicroBatch) -> TokenLosses:
        with part.lane.taking_part() if part.lane else nullcontext():
            return compute(lane, part)

    return compute_part
