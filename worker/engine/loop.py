"""The training loop's body: one round moves every job of a cohort by one optimizer step."""

from collections.abc import Callable, Sequence

import torch

from core.errors import TuneryError
from worker.data.pack import Share, pack
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
    micro-batches, no member has moved and the result is empty; several ranks ask it once, before the first.
    """
    rows = {member.adapter.name: member.next_rows for member in members}
    shares = [Share(name, part, 1 / sum(row.supervised for row in part)) for name, part in rows.items()]
    totals = Totals(rows, base.device)
    adapters = [member.adapter for member in members]
    for adapter in adapters:
        adapter.parameters.refresh()
    abandoned = ranks.any(abandon())
    for batch in ranks.part(list(pack(shares, max_tokens, base.device, ranks.size))):
        abandoned = abandoned or (ranks.size == 1 and abandon())
        if abandoned:
            break
        losses = _forward(base, batch, adapters)
        losses.total.backward()
        totals.add(batch, losses)
    if abandoned:
        for member in members:
            member.forget_gradient()
        return {}
    for adapter in adapters:
        ranks.sum(adapter.parameters.gradient)
    ranks.sum(totals.sums_A3)
    means = totals.evaluations()
    return {name: _step(member, rows[name], means[name]) for name, member in zip(rows, members, strict=True)}


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

    Raises Abandoned where `abandon` says so between two micro-batches, as in `train_round`.
    """
    adapter.parameters.refresh()
    totals = Totals([adapter.name], base.device)
    share = Share(adapter.name, rows, 0.0)
    abandoned = ranks.any(abandon())
    for batch in ranks.part(list(pack([share], max_tokens, base.device, ranks.size))):
        if abandoned or (ranks.size == 1 and abandon()):
            raise Abandoned
        totals.add(batch, _forward(base, batch, [adapter]))
    ranks.sum(totals.sums_A3)
    return totals.evaluations()[adapter.name]


def _forward(base: ResidentBase, batch: MicroBatch, adapters: Sequence[TrainableAdapter]) -> TokenLosses:
    hidden_SD = base.decoder.hidden(batch, {adapter.name: adapter.low_ranks for adapter in adapters})
    decoder = base.decoder
    return head_losses(hidden_SD, decoder.head_VD, decoder.softcap, batch.labels_S, batch.weights_S)


def _step(member: Member, rows: Sequence[Row], mean: Evaluation) -> StepResult | Exception:
    """Whatever breaks is the member's own: those that have stepped keep their steps."""
    try:
        return member.take_step(rows, mean.loss, mean.accuracy)
    except Exception as error:
        return error
