"""The sums over supervised tokens: by adapter or by row."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.batch.micro_batch import MicroBatch, spans_among
from worker.engine.kernels.loss import TokenLosses


@dataclass(frozen=True)
class Evaluation:
    """Means over supervised tokens, weighted by their messages' weights.

    `loss` is the cross-entropy in nats, and `accuracy` the share of tokens that were predicted right. For an
    objective beyond cross-entropy, `loss` is the objective's loss, `accuracy` counts only desirable answers,
    and `metrics` are the objective's own metrics.
    """

    loss: float
    accuracy: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """The loss of an adapter's objective on validation rows.

    For a cross-entropy it also has each row's part, [X]: Σ −w log p over its supervised tokens, and Σ w.
    """

    loss: float
    nll_X: NDArray[np.float64] | None = None
    tokens_X: NDArray[np.float64] | None = None


class Totals:
    """Running sums by adapter, which stay on the device until they are read."""

    def __init__(self, names: Iterable[str], device: torch.device) -> None:
        self._index = {name: index for index, name in enumerate(names)}
        self.sums_A3 = torch.zeros(len(self._index), 3, dtype=torch.float64, device=device)
        """For each adapter: loss, right predictions, tokens; all weighted by the messages' weights."""

    def add(self, batch: MicroBatch, losses: TokenLosses) -> None:
        for name, mine in spans_among(batch.supervised_on_host_S, batch.adapter_tokens).items():
            sums_3 = self.sums_A3[self._index[name]]
            nll, correct = losses.nll_S[mine], losses.correct_S[mine]
            if batch.message_weights_S is None:
                sums_3[2] += mine.stop - mine.start
            else:
                weights = batch.message_weights_S[mine]
                nll, correct = nll * weights, correct * weights
                sums_3[2] += weights.sum()
            sums_3[0] += nll.sum()
            sums_3[1] += correct.sum()

    def evaluations(self) -> dict[str, Evaluation]:
        """Return the means, by adapter."""
        sums = self.sums_A3.tolist()
        return {
            name: Evaluation(sums[index][0] / sums[index][2], sums[index][1] / sums[index][2])
            for name, index in self._index.items()
        }


class RowTotals:
    """Running sums by row; rows are numbered through the jobs of a pass. A row with weight 0 adds nothing."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.sums_3X = torch.zeros(3, rows, dtype=torch.float64, device=device)
        """For each row: loss, right predictions, tokens; all weighted by `MicroBatch.weights_S`."""

    @classmethod
    def part(cls, rows: int, batch: MicroBatch, losses: TokenLosses) -> Tensor:
        """Return the sums of one part of a micro-batch alone."""
        totals = cls(rows, batch.weights_S.device)
        totals.add(batch, losses)
        return totals.sums_3X

    def add(self, batch: MicroBatch, losses: TokenLosses) -> None:
        weights_S = batch.weights_S.double()
        values = losses.nll_S * weights_S, losses.correct_S * weights_S, weights_S
        for sums_X, values_S in zip(self.sums_3X, values, strict=True):
            sums_X.index_add_(0, batch.rows_S, values_S)
