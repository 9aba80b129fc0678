"""The training loop's body: one round moves every job of a cohort by one optimizer step."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from core.errors import JobError, TuneryError
from worker.data.grouping import Share
from worker.data.pack import pack_waves
from worker.data.render import Row
from worker.engine.adapters import TrainableAdapter
from worker.engine.base_model import ResidentBase
from worker.engine.head import head_losses
from worker.engine.layout import MicroBatch
from worker.engine.loss import TokenLosses
from worker.engine.member import Member, StepResult
from worker.engine.ranks import ALONE, Ranks
from worker.engine.totals import Evaluation, Totals


class Abandoned(TuneryError):
    """An evaluation was ended before its result."""


def train_round(
    base: ResidentBase,
    members: Sequence[Member],
    max_tokens: int,
    abandon: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> dict[str, StepResult | Exception]:
    """One step for each member, by its adapter's name; an error there concerns that member alone.

    The loss is the sum of the members' means, so a member's gradient does not depend on its neighbours. Each
    rank computes a part of the micro-batches, and all take the step. Where `abandon` says so between two
    micro-batches, no member has moved and the result is empty; a rank among several must not.
    """
    rows = {member.adapter.name: member.next_rows for member in members}
    shares = [Share(name, part, 1 / sum(row.supervised for row in part)) for name, part in rows.items()]
    totals = Totals(rows, base.device)
    adapters = [member.adapter for member in members]
    for adapter in adapters:
        adapter.parameters.refresh()

    def forward_and_backward(lane: int, batch: MicroBatch) -> TokenLosses:
        losses = _forward(base, batch, adapters, lane)
        losses.total.backward()
        return losses

    waves = _waves(base, shares, max_tokens, ranks)
    try:
        with ranks.together(in_step=base.sharded):
            finished = _compute(base, waves, forward_and_backward, totals, abandon)
    except Exception:
        _forget(members)
        raise
    if not finished:
        _forget(members)
        return {}
    for adapter in adapters:
        adapter.parameters.gather()
        ranks.sum(adapter.parameters.gradient)
    ranks.sum(totals.sums_A3)
    means = totals.evaluations()
    return {
        name: _step(member, rows[name], means[name], ranks)
        for name, member in zip(rows, members, strict=True)
    }


@torch.no_grad()
def evaluate(
    base: ResidentBase,
    adapter: TrainableAdapter,
    rows: Sequence[Row],
    max_tokens: int,
    ranks: Ranks = ALONE,
    abandon: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Loss and accuracy of `adapter` on `rows`, without training.

    Raises Abandoned where `abandon` says so between two micro-batches; a rank among several must not.
    """
    adapter.parameters.refresh()
    totals = Totals([adapter.name], base.device)

    @torch.no_grad()  # a lane's thread does not know of the one above
    def forward(lane: int, batch: MicroBatch) -> TokenLosses:
        return _forward(base, batch, [adapter], lane)

    waves = _waves(base, [Share(adapter.name, rows, 0.0)], max_tokens, ranks)
    with ranks.together(in_step=base.sharded):
        if not _compute(base, waves, forward, totals, abandon):
            raise Abandoned
    ranks.sum(totals.sums_A3)
    return totals.evaluations()[adapter.name]


def _waves(
    base: ResidentBase, shares: Sequence[Share], max_tokens: int, ranks: Ranks
) -> Sequence[list[MicroBatch]]:
    """This rank's waves. Ranks that compute in step have equally many: one that has fewer lets the bare base
    compute once more, which adds to nothing."""
    waves = list(pack_waves(shares, max_tokens, base.device, base.lanes.count, ranks.size))
    mine = ranks.part(waves)
    if not base.sharded or len(mine) * ranks.size >= len(waves):
        return mine
    batch = waves[0][0]
    return [*mine, [replace(batch, adapter_rows={}, weights_S=torch.zeros_like(batch.weights_S))]]


def _compute(
    base: ResidentBase,
    waves: Sequence[list[MicroBatch]],
    compute: Callable[[int, MicroBatch], TokenLosses],
    totals: Totals,
    abandon: Callable[[], bool],
) -> bool:
    """Wave after wave; False where `abandon` said so before one of them."""
    for wave in waves:
        if abandon():
            return False
        for batch, losses in zip(wave, base.lanes.map(compute, wave), strict=True):
            totals.add(batch, losses)
    return True


def _forget(members: Sequence[Member]) -> None:
    for member in members:
        member.forget_gradient()


def _forward(
    base: ResidentBase, batch: MicroBatch, adapters: Sequence[TrainableAdapter], lane: int
) -> TokenLosses:
    hidden_SD = base.decoder.hidden(batch, {adapter.name: adapter.low_ranks(lane) for adapter in adapters})
    decoder = base.decoder
    return head_losses(hidden_SD, decoder.head_VD, decoder.softcap, batch.labels_S, batch.weights_S)


def _step(member: Member, rows: Sequence[Row], mean: Evaluation, ranks: Ranks) -> StepResult | Exception:
    """Whatever breaks is the member's own: those that have stepped keep their steps."""
    try:
        return member.take_step(rows, mean.loss, mean.accuracy)
    except JobError as error:
        return error
    except Exception as error:
        if ranks.size > 1:  # the other ranks may have stepped
            raise
        return error
