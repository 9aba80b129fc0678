"""The training loop's body: one round moves every job of a cohort by one optimizer step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from core.errors import JobError
from worker.data.pack import Share, pack
from worker.data.render import Row
from worker.engine.adapters import TrainableAdapter
from worker.engine.base_model import ResidentBase
from worker.engine.head import head_losses
from worker.engine.layout import MicroBatch
from worker.engine.loss import TokenLosses
from worker.engine.member import Member, StepResult


@dataclass
class _Sum:
    """Running totals of one adapter's supervised tokens."""

    nll: float = 0.0
    correct: int = 0
    tokens: int = 0

    @property
    def loss(self) -> float:
        return self.nll / self.tokens

    @property
    def accuracy(self) -> float:
        return self.correct / self.tokens


@dataclass(frozen=True)
class Evaluation:
    """Mean over supervised tokens: loss in nats, and the share predicted right."""

    loss: float
    accuracy: float


def train_round(
    base: ResidentBase,
    members: Sequence[Member],
    max_tokens: int,
    abandon: Callable[[], bool] = lambda: False,
) -> dict[str, StepResult | JobError]:
    """One step for each member, by its adapter's name; a JobError concerns that member alone.

    The loss is the sum of the members' means, so a member's gradient does not depend on its neighbours. Where
    `abandon` says so between two micro-batches, no member has moved and the result is empty.
    """
    batches = {member.adapter.name: member.next_rows for member in members}
    shares = [Share(name, rows, 1 / sum(row.supervised for row in rows)) for name, rows in batches.items()]
    sums = {name: _Sum() for name in batches}
    adapters = [member.adapter for member in members]
    for adapter in adapters:
        adapter.parameters.refresh()
    for batch in pack(shares, max_tokens, base.device):
        if abandon():
            for member in members:
                member.forget_gradient()
            return {}
        losses = _forward(base, batch, adapters)
        losses.total.backward()
        _add(sums, batch, losses)
    return {member.adapter.name: _step(member, batches, sums) for member in members}


@torch.no_grad()
def evaluate(
    base: ResidentBase, adapter: TrainableAdapter, rows: Sequence[Row], max_tokens: int
) -> Evaluation:
    """Loss and accuracy of `adapter` on `rows`, without training."""
    adapter.parameters.refresh()
    sums = {adapter.name: _Sum()}
    for batch in pack([Share(adapter.name, rows, 0.0)], max_tokens, base.device):
        _add(sums, batch, _forward(base, batch, [adapter]))
    return Evaluation(sums[adapter.name].loss, sums[adapter.name].accuracy)


def _forward(base: ResidentBase, batch: MicroBatch, adapters: Sequence[TrainableAdapter]) -> TokenLosses:
    hidden_SD = base.decoder.hidden(batch, {adapter.name: adapter.low_ranks for adapter in adapters})
    decoder = base.decoder
    return head_losses(hidden_SD, decoder.head_VD, decoder.softcap, batch.labels_S, batch.weights_S)


def _add(sums: Mapping[str, _Sum], batch: MicroBatch, losses: TokenLosses) -> None:
    for name, nll, correct in _by_adapter(batch, losses):
        sums[name].nll += nll.sum().item()
        sums[name].correct += int(correct.sum().item())
        sums[name].tokens += len(nll)


def _by_adapter(batch: MicroBatch, losses: TokenLosses) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    for name, rows in batch.adapter_rows.items():
        mine = (batch.supervised_S >= rows.start) & (batch.supervised_S < rows.stop)
        yield name, losses.nll_S[mine], losses.correct_S[mine]


def _step(
    member: Member, batches: Mapping[str, list[Row]], sums: Mapping[str, _Sum]
) -> StepResult | JobError:
    name = member.adapter.name
    try:
        return member.take_step(batches[name], sums[name].loss, sums[name].accuracy)
    except JobError as error:
        return error
