"""A step of a policy loss: its rollouts, the factor of each token's gradient, and its loss and metrics.

The training pass computes a cross-entropy of the sampled tokens. The factor of each token follows from its
log-probability, which is known between the forward and the backward pass of its micro-batch. So the step
takes a single pass. The log-probabilities are kept until all micro-batches are computed. Then loss and
metrics are computed at once, from the rollouts of the whole step.

Axes: X rollouts that are learnt; U their tokens, from the first learnt token of each on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from torch import Tensor

from worker.engine.batch.grouping import JobRows
from worker.engine.batch.micro_batch import MicroBatch, spans_among
from worker.engine.device.transfer import on_device
from worker.engine.kernels.loss import TokenLosses
from worker.engine.objectives.policy.policy_loss import PolicyLoss, RolloutTokens, StepSize
from worker.engine.step.processes import Processes
from worker.engine.step.totals import Evaluation
from worker.rows.rollout import Rollout


@dataclass(frozen=True)
class RolloutRows:
    """The rollouts of an adapter's step: those that have a gradient, and how many there are in all."""

    adapter: str
    loss: PolicyLoss
    learnt: Sequence[Rollout]
    size: StepSize
    dropout_seed: int | None = None
    apart: bool = False
    """Whether the rows are cut into micro-batches without those of other adapters"""

    @property
    def as_job(self) -> JobRows:
        seed = self.dropout_seed
        return JobRows(self.adapter, self.learnt, 1.0, dropout_seed=seed, apart=self.apart)


@dataclass(frozen=True)
class Answers:
    """The answers of rollouts end to end, on the axis U, in the host's memory.

    `starts_X` are the places on the axis that the first tokens of the whole rows would have. `sampled_U` is
    log p of the sampler, `advantages_U` are the tokens' advantages, and `rows_U` the numbers of their
    rollouts.
    """

    starts_X: Tensor
    sampled_U: Tensor
    advantages_U: Tensor
    learnt_U: Tensor
    rows_U: Tensor

    @classmethod
    def of(cls, rollouts: Sequence[Rollout]) -> "Answers":
        begins = [int(row.learnt_L[1:].argmax()) + 1 for row in rollouts]
        lengths = [len(row.tokens_L) - begin for row, begin in zip(rollouts, begins, strict=True)]
        starts = np.cumsum(lengths) - lengths - begins
        sampled = [row.logprobs_L[begin:] for row, begin in zip(rollouts, begins, strict=True)]
        advantages = [row.advantages_L[begin:] for row, begin in zip(rollouts, begins, strict=True)]
        learnt = [row.learnt_L[begin:] for row, begin in zip(rollouts, begins, strict=True)]
        return cls(
            torch.from_numpy(starts),
            torch.from_numpy(np.concatenate(sampled)),
            torch.from_numpy(np.concatenate(advantages)),
            torch.from_numpy(np.concatenate(learnt)),
            torch.from_numpy(np.repeat(np.arange(len(rollouts)), lengths)),
        )


class PolicyStep:
    """The rollouts of one adapter in the training pass, with what is known of them so far."""

    def __init__(self, rows: RolloutRows, first: int, device: torch.device) -> None:
        """`first` is the number of the first rollout among the rows of the pass."""
        self.needs_row_sums = rows.loss.needs_row_sums
        self._adapter, self._loss, self._first = rows.adapter, rows.loss, first
        self._rows = slice(first, first + len(rows.learnt))
        self._answers = answers = Answers.of(rows.learnt)
        lengths_X = torch.tensor([row.supervised for row in rows.learnt])
        weights_X = rows.loss.weights(lengths_X, rows.size)
        learnt_U = answers.learnt_U
        sampled_X = torch.zeros(len(rows.learnt), dtype=torch.float64)
        sampled_X.index_add_(0, answers.rows_U[learnt_U], answers.sampled_U[learnt_U].double())
        self._on_host = lengths_X, weights_X
        self._lengths_X, self._weights_X, self._sampled_X, self._starts_X = (
            on_device(each, device) for each in (*self._on_host, sampled_X, answers.starts_X)
        )
        self._sampled_U, self._advantages_U = (
            on_device(each, device) for each in (answers.sampled_U, answers.advantages_U)
        )
        self._logp_U = torch.zeros_like(self._sampled_U)

    def put_factors(
        self, factors_S: Tensor, batch: MicroBatch, losses: TokenLosses, sums_3X: Tensor | None
    ) -> None:
        """Set the factors of this adapter's tokens in a lane's part of a micro-batch.

        `sums_3X` are `RowTotals.sums_3X` of the whole micro-batch, if the loss needs them.
        """
        mine = self._span(batch)
        rows_S, places_S = batch.rows_S[mine] - self._first, self._places(batch, mine)
        log_ratio_X = None if sums_3X is None else -sums_3X[0, self._rows] - self._sampled_X
        tokens = RolloutTokens(
            -losses.nll_S[mine],
            self._sampled_U[places_S],
            self._advantages_U[places_S],
            rows_S,
            self._lengths_X,
            log_ratio_X,
        )
        slope_S = self._weights_X[rows_S] * self._loss.terms(tokens).slope_S
        factors_S[mine] = -slope_S.to(factors_S.dtype)

    def add(self, batch: MicroBatch, losses: TokenLosses) -> None:
        """Keep the log-probabilities that a part of a micro-batch has computed."""
        mine = self._span(batch)
        self._logp_U[self._places(batch, mine)] = -losses.nll_S[mine]

    def evaluation(self, processes: Processes) -> Evaluation:
        """Return the loss and the metrics of the whole step, after adding up over the processes.

        The metrics are means over the tokens of the rollouts that have a gradient. `entropy` estimates the
        policy's entropy per token by −log p of the sampled tokens. The accuracy is NaN.
        """
        answers, learnt_U = self._answers, self._answers.learnt_U
        logp_S = processes.sum(self._logp_U).cpu()[learnt_U].double()
        sampled_S, rows_S = answers.sampled_U[learnt_U].double(), answers.rows_U[learnt_U]
        lengths_X, weights_X = self._on_host
        log_ratio_X = torch.zeros_like(weights_X).index_add_(0, rows_S, logp_S - sampled_S)
        advantages_S = answers.advantages_U[learnt_U]
        tokens = RolloutTokens(logp_S, sampled_S, advantages_S, rows_S, lengths_X, log_ratio_X)
        terms = self._loss.terms(tokens)
        gap_S = (logp_S - sampled_S).abs()
        metrics = {
            "policy_gap_mean": gap_S.mean().item(),
            "policy_gap_max": gap_S.max().item(),
            "ratio_mean": terms.ratio_S.mean().item(),
            "clip_fraction": terms.clipped_S.double().mean().item(),
            "entropy": -logp_S.mean().item(),
        }
        return Evaluation((weights_X[rows_S] * terms.loss_S).sum().item(), nan, metrics)

    def _span(self, batch: MicroBatch) -> slice:
        """Return which supervised tokens of the part belong to this adapter."""
        spans = spans_among(batch.supervised_on_host_S, batch.adapter_tokens)
        return spans.get(self._adapter, slice(0))

    def _places(self, batch: MicroBatch, mine: slice) -> Tensor:
        """Return the places on the axis U of the labels of some supervised tokens.

        A token predicts the next one of its row.
        """
        positions_S = batch.positions_T[batch.supervised_S[mine]] + 1
        return self._starts_X[batch.rows_S[mine] - self._first] + positions_S
