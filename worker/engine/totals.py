"""What the supervised tokens of a round add up to, adapter by adapter."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from worker.engine.loss import TokenLosses
from worker.engine.micro_batch import MicroBatch


@dataclass(frozen=True)
class Evaluation:
    """Mean over supervised tokens: loss in nats, and the share predicted right."""

    loss: float
    accuracy: float


class Totals:
    """Running sums by adapter. They stay on the device until they are read."""

    def __init__(self, names: Iterable[str], device: torch.device) -> None:
        self._index = {name: index for index, name in enumerate(names)}
        self.sums_A3 = torch.zeros(len(self._index), 3, dtype=torch.float64, device=device)
        """Loss, right predictions, tokens."""

    def add(self, batch: MicroBatch, losses: TokenLosses) -> None:
        for name, tokens in batch.adapter_tokens.items():
            mine = (batch.supervised_S >= tokens.start) & (batch.supervised_S < tokens.stop)
            sums_3 = self.sums_A3[self._index[name]]
            sums_3[0] += losses.nll_S[mine].sum()
            sums_3[1] += losses.correct_S[mine].sum()
            sums_3[2] += mine.sum()

    def evaluations(self) -> dict[str, Evaluation]:
        sums = self.sums_A3.tolist()
        return {
            name: Evaluation(sums[index][0] / sums[index][2], sums[index][1] / sums[index][2])
            for name, index in self._index.items()
        }
