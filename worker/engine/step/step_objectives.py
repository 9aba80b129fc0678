"""The objectives beyond cross-entropy in a training step: rows that take a pass of their own, and weights.

The training pass computes a weighted cross-entropy that has the objective's gradient. A weight follows from
the log-probabilities of the rows that the objective compares. If these are the rows of one example, and they
fit into one micro-batch, then the weights are found between the forward and the backward pass of this
micro-batch. All other rows are computed without gradient before, in a pass of their own. In both cases no
more than one micro-batch is held at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.engine.batch.grouping import JobRows, fits_together
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.batch.spread_work import SavedTokens
from worker.engine.device.transfer import on_device
from worker.engine.step.context import PassContext
from worker.engine.step.objective_pass import (
    ObjectiveRows,
    advance_references,
    complete_references,
    evaluation_of,
    row_weights,
)
from worker.engine.step.passes import SpreadRowPass, row_sums
from worker.engine.step.totals import Evaluation


@dataclass(frozen=True)
class PreparedStep:
    """The rows of a trainee's step, and all that is known of them before the training pass.

    Indices are those of the rows of the step. `ahead` are those of the rows whose weights are known before
    the training pass, and `learnt` those of the rows in it: a row may be both. `sums_3X` are the sums of the
    rows computed before, and `weights_X` the weights of all rows: 1 for a row whose weight is not known yet.
    """

    rows: ObjectiveRows
    ahead: Sequence[int]
    learnt: Sequence[int]
    sums_3X: Tensor
    weights_X: Tensor

    @property
    def as_job(self) -> JobRows:
        """The rows in the training pass."""
        weights = self.weights_X[self.learnt].tolist()
        size = self.rows.objective.rows if self.rows.objective.examples_apart else 1
        return replace(self.rows.only(self.learnt).as_job, row_weights=weights, rows_per_example=size)

    def evaluation(self, learnt_3X: Tensor) -> Evaluation:
        """Return loss, accuracy and metrics of the step. `learnt_3X` are the sums of the training pass."""
        sums_3X = self.sums_3X.clone()
        sums_3X[:, self.learnt] = learnt_3X
        sums_3X[:, self.ahead] = self.sums_3X[:, self.ahead]  # in the training pass they were weighted
        return evaluation_of(self.rows, sums_3X)


def prepare(context: PassContext, compared: Sequence[ObjectiveRows]) -> list[PreparedStep]:
    """Compute the references of all rows, and the rows that take a pass of their own.

    Raises Abandoned as `run_pass` does.
    """
    for each in compared:
        complete_references(context, each)
    indices = [_ahead(each, context.max_tokens) for each in compared]
    before = [each.only(ahead) for each, ahead in zip(compared, indices, strict=True)]
    taking = [each for each in before if each.numbers]
    sums_3X = row_sums(context, [each.adapter for each in taking], [each.as_job for each in taking])
    each_3X = sums_3X.split([len(ahead) for ahead in indices], dim=1)
    return [_prepared(*known) for known in zip(compared, indices, each_3X, strict=True)]


class SpreadPreparation:
    """What `prepare` does for the rows of one step, of which each round computes some micro-batches."""

    def __init__(self, context: PassContext, compared: ObjectiveRows) -> None:
        self._compared, self._indices = compared, _ahead(compared, context.max_tokens)
        self._before = SpreadRowPass(context, compared.only(self._indices).as_job)

    def advance(self, context: PassContext, saved: SavedTokens) -> PreparedStep | None:
        """Compute the micro-batches that the tokens suffice for. Return what `prepare` returns at the end.

        Raises Abandoned as `run_pass` does. After an error, the preparation must begin again.
        """
        if not advance_references(context, self._compared, saved):
            return None
        ahead_3X = self._before.advance(context, [self._compared.adapter], saved)
        return None if ahead_3X is None else _prepared(self._compared, self._indices, ahead_3X)


def _ahead(compared: ObjectiveRows, max_tokens: int) -> list[int]:
    """Return the indices of the rows whose weights cannot be found in the training pass."""
    size, rows = compared.objective.rows, compared.selected
    if not compared.objective.examples_apart:
        return list(range(len(rows)))
    starts = range(0, len(rows), size)
    split = (start for start in starts if not fits_together(rows[start : start + size], max_tokens))
    return [start + number for start in split for number in range(size)]


def _prepared(compared: ObjectiveRows, ahead: Sequence[int], ahead_3X: Tensor) -> PreparedStep:
    """Return what is known of the rows before the training pass.

    If the objective only measures some rows, they have weight 0 and are not learnt, unless all weigh 0.
    """
    sums_3X = ahead_3X.new_zeros(3, len(compared.numbers))
    weights_X = ahead_3X.new_ones(len(compared.numbers))
    if ahead:
        sums_3X[:, ahead] = ahead_3X
        share = len(ahead) / len(compared.numbers)
        weights_X[ahead] = row_weights(compared.only(ahead), ahead_3X) * share
    learnt: Sequence[int] = range(len(compared.numbers))
    if not compared.objective.examples_apart:
        learnt = weights_X.nonzero()[:, 0].tolist() or learnt
    return PreparedStep(compared, ahead, learnt, sums_3X, weights_X)


class WeightsInPass:
    """Finds weights that are not known yet, between the forward and the backward pass of a micro-batch."""

    def __init__(self, jobs: Sequence[JobRows], steps: Sequence[PreparedStep | None]) -> None:
        """`steps` has the prepared step of each job in the training pass, or None if there is none."""
        self._rows = sum(len(job.rows) for job in jobs)
        self._open: list[tuple[PreparedStep, Tensor, Tensor]] = []  # with indices in the step and in the pass
        first = 0
        for job, step in zip(jobs, steps, strict=True):
            if step is not None and len(step.ahead) < len(step.rows.numbers):
                known = set(step.ahead)
                indices = [
                    (in_step, in_pass) for in_pass, in_step in enumerate(step.learnt) if in_step not in known
                ]
                in_step_X, in_pass_X = torch.tensor(indices).T
                self._open.append((step, in_step_X, in_pass_X + first))
            first += len(job.rows)

    @property
    def are_open(self) -> bool:
        """Whether there are weights to find."""
        return bool(self._open)

    def of(self, batch: MicroBatch, sums_3X: Tensor) -> Tensor:
        """Return the factor of each supervised token's gradient in a lane's part of a micro-batch, [S].

        `sums_3X` are `RowTotals.sums_3X` of the whole micro-batch. The factor is 1 for tokens whose weights
        are in the micro-batch.
        """
        sums_3X = sums_3X.cpu()
        factors_X = torch.ones(self._rows)
        for step, in_step_X, in_pass_X in self._open:
            size = step.rows.objective.rows
            here_P = (sums_3X[2, in_pass_X] > 0).view(-1, size).any(1)  # examples are here as a whole
            here_X = in_pass_X[here_P.repeat_interleave(size)]
            if len(here_X):
                rows = step.rows.only(in_step_X[here_P.repeat_interleave(size)].tolist())
                share = len(rows.numbers) / len(step.rows.numbers)
                factors_X[here_X] = row_weights(rows, sums_3X[:, here_X]).float() * share
        return on_device(factors_X, batch.rows_S.device)[batch.rows_S]
