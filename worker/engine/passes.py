"""One pass over the micro-batches of some jobs' rows: each rank its part, each micro-batch by all lanes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Protocol

import torch

from core.errors import TuneryError
from worker.engine.adapter import Adapter
from worker.engine.base_model import ResidentBase
from worker.engine.grouping import JobRows, groups_of
from worker.engine.head import head_losses
from worker.engine.lanes import Lanes
from worker.engine.loss import TokenLosses
from worker.engine.micro_batch import MicroBatch
from worker.engine.pack import lay
from worker.engine.ranks import Ranks
from worker.engine.text_decoder import TextDecoder

ONE_LANE = Lanes(1)


class Abandoned(TuneryError):
    """A pass was ended before its result."""


class Sums(Protocol):
    """What a pass adds up, part by part."""

    def add(self, batch: MicroBatch, losses: TokenLosses) -> None: ...


def micro_batches(
    base: ResidentBase, jobs: Sequence[JobRows], max_tokens: int, ranks: Ranks
) -> Iterator[MicroBatch]:
    """This rank's part, each laid on the device when its turn comes. Ranks that compute in step have equally
    many: one that has fewer lets the bare base compute once more, which adds to nothing."""
    groups = groups_of(jobs, max_tokens, ranks.size)
    mine = ranks.part(groups)
    for group in mine:
        yield lay(group, base.device)
    if base.sharded and len(mine) * ranks.size < len(groups):
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


def compute_all(
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
