"""The training loop's body: one round moves every job of a cohort by one optimizer step."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch

from core.errors import JobError, TuneryError
from worker.data.render import Row
from worker.engine.adapters import TrainableAdapter
from worker.engine.base_model import ResidentBase
from worker.engine.grouping import JobRows
from worker.engine.head import head_losses
from worker.engine.loss import TokenLosses
from worker.engine.member import Member, StepResult
from worker.engine.micro_batch import MicroBatch
from worker.engine.pack import pack
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
    jobs = [JobRows(name, part, 1 / sum(row.supervised for row in part)) for name, part in rows.items()]
    totals = Totals(rows, base.device)
    adapters = [member.adapter for member in members]
    for adapter in adapters:
        adapter.parameters.refresh()

    def forward_and_backward(lane: int, batch: MicroBatch) -> TokenLosses:
        losses = _forward(base, batch, adapters, lane)
        losses.total.backward()
        return losses

    batches = _micro_batches(base, jobs, max_tokens, ranks)
    try:
        with ranks.together(in_step=base.sharded):
            finished = _compute(base, batches, forward_and_backward, totals, abandon)
        if not finished:
            _forget(members)
            return {}
        for adapter in adapters:
            adapter.parameters.gather()
            ranks.sum(adapter.parameters.gradient)
        ranks.sum(totals.sums_A3)
        means = totals.evaluations()
    except Exception:
        _forget(members)
        raise
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

    batches = _micro_batches(base, [JobRows(adapter.name, rows, 0.0)], max_tokens, ranks)
    with ranks.together(in_step=base.sharded):
        if not _compute(base, batches, forward, totals, abandon):
            raise Abandoned
    ranks.sum(totals.sums_A3)
    return totals.evaluations()[adapter.name]


def _micro_batches(
    base: ResidentBase, jobs: Sequence[JobRows], max_tokens: int, ranks: Ranks
) -> Sequence[MicroBatch]:
    """This rank's part. Ranks that compute in step have equally many: one that has fewer lets the bare base
    compute once more, which adds to nothing."""
    batches = list(pack(jobs, max_tokens, base.device, ranks.size))
    mine = ranks.part(batches)
    if not base.sharded or len(mine) * ranks.size >= len(batches):
        return mine
    again = batches[0]
    return [*mine, replace(again, adapter_tokens={}, weights_S=torch.zeros_like(again.weights_S))]


def _compute(
    base: ResidentBase,
    batches: Sequence[MicroBatch],
    compute: Callable[[int, MicroBatch], TokenLosses],
    totals: Totals,
    abandon: Callable[[], bool],
) -> bool:
    """One after another, each by all lanes; False where `abandon` said so before one of them."""
    for batch in batches:
        if abandon():
            return False
        parts = base.lanes.parts_of(batch)
        for part, losses in zip(parts, base.lanes.map(_taking_part(compute), parts), strict=True):
            totals.add(part, losses)
    return True


def _taking_part(
    compute: Callable[[int, MicroBatch], TokenLosses],
) -> Callable[[int, MicroBatch], TokenLosses]:
    def compute_part(lane: int, part: MicroBatch) -> TokenLosses:
        with part.lane.taking_part() if part.lane else nullcontext():
            return compute(lane, part)

    return compute_part


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
