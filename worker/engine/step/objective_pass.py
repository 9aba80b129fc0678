"""The additional pass of objectives beyond cross-entropy, for their loss, metrics and rows' weights.

The rows are computed twice. This pass computes them without gradient, for their log-probabilities, from which
the objective makes its loss, its metrics and a weight for each row. The training pass then computes them with
gradient, as a weighted cross-entropy that has the objective's gradient. So only one micro-batch is held at a
time, even if an objective compares many rows. Lanes, processes and neighbours work as for any other job.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import overload

import torch
from torch import Tensor

from worker.engine.adapters.adapter import Adapter
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.kernels.loss import TokenLosses
from worker.engine.step.context import PassContext
from worker.engine.step.passes import decoder_of, forward, run_pass
from worker.engine.step.references import References
from worker.engine.step.totals import Evaluation, RowTotals
from worker.objectives.objective import ObjectiveLoss, Scores, outcome
from worker.rows import Row


@dataclass(frozen=True)
class ObjectiveRows:
    """The rows for which an adapter's objective is computed: those of `rows` that `numbers` selects.

    The rows of one example stand side by side. With the `dropout_seed` of a step, the adapter computes the
    same as in the step's training pass, with the same dropout. Without a seed it drops nothing. The reference
    is the adapter with the `parent_values`, or the base model if there are none.
    """

    adapter: Adapter
    objective: ObjectiveLoss
    rows: Sequence[Row]
    numbers: Sequence[int]
    references: References
    dropout_seed: int | None = None
    parent_values: Tensor | None = None
    apart: bool = False
    """Whether the rows are cut into micro-batches without those of other adapters"""

    @property
    def selected(self) -> "Selected":
        return Selected(self.rows, self.numbers)

    @property
    def as_job(self) -> JobRows:
        name, seed = self.adapter.name, self.dropout_seed
        return JobRows(name, self.selected, 1.0, dropout_seed=seed, apart=self.apart)


@dataclass(frozen=True)
class Selected(Sequence[Row]):
    """Some rows, by their numbers. Each is read when it is needed, as all of them may not fit into memory."""

    rows: Sequence[Row]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> "Selected": ...
    def __getitem__(self, index: int | slice) -> "Row | Selected":
        if isinstance(index, slice):
            return Selected(self.rows, self.numbers[index])
        return self.rows[self.numbers[index]]


@dataclass(frozen=True)
class ObjectiveResult:
    """The evaluation of an objective, and the weight of each selected row in the gradient.

    A weight multiplies the row's cross-entropy, summed over its tokens.
    """

    evaluation: Evaluation
    weights: list[float]


def compute_objectives(context: PassContext, parts: Sequence[ObjectiveRows]) -> list[ObjectiveResult]:
    """Return the result of each part, in their order. Raises Abandoned as `run_pass` does."""
    for part in parts:
        if part.objective.needs_reference:
            _complete_references(context, part)
    sums_3X = row_sums(context, [part.adapter for part in parts], [part.as_job for part in parts])
    counts = [len(part.numbers) for part in parts]
    return [_result(part, part_3X) for part, part_3X in zip(parts, sums_3X.split(counts, dim=1), strict=True)]


def _complete_references(context: PassContext, part: ObjectiveRows) -> None:
    """Compute the reference's log-probabilities of the selected rows, if they are not known yet."""
    for numbers in part.references.missing(part.numbers):
        jobs = [JobRows(part.adapter.name, Selected(part.rows, numbers), 1.0)]
        with _reference(part) as adapters:
            nll_X = row_sums(context, adapters, jobs)[0]
        part.references.keep(numbers, (-nll_X).tolist())


@contextmanager
def _reference(part: ObjectiveRows) -> Iterator[Sequence[Adapter]]:
    """Yield the adapters with which the reference computes: none, or this one with its parent's values."""
    if part.parent_values is None:
        yield []
        return
    dynamic = part.adapter.dynamic_rank
    with dynamic.whole() if dynamic else nullcontext(), part.adapter.parameters.holding(part.parent_values):
        yield [part.adapter]
    part.adapter.parameters.refresh()  # with the rank that is drawn for the step


def _result(part: ObjectiveRows, sums_3X: Tensor) -> ObjectiveResult:
    nll_X, correct_X, tokens_X = sums_3X
    desirable_X = torch.tensor([row.desirable for row in part.selected])
    scores = Scores(-nll_X, tokens_X, part.references.of(part.numbers), desirable_X)
    found = outcome(part.objective, scores)
    accuracy = (correct_X[desirable_X].sum() / tokens_X[desirable_X].sum()).item()
    return ObjectiveResult(Evaluation(found.loss, accuracy, found.metrics), (-found.slope_X).tolist())


@torch.no_grad()
def row_sums(context: PassContext, adapters: Sequence[Adapter], jobs: Sequence[JobRows]) -> Tensor:
    """Return the sums of each row, in the jobs' order, [3, X], as in `RowTotals.sums_3X`, on the CPU.

    Without adapters, the bare base model computes the rows. Raises Abandoned as `run_pass` does.
    """
    totals = RowTotals(sum(len(job.rows) for job in jobs), context.base.device)
    decoder = decoder_of(context.base, adapters)

    @torch.no_grad()  # the setting above does not hold on the threads of the lanes
    def compute(lane: int, part: MicroBatch) -> TokenLosses:
        return forward(decoder, part if adapters else replace(part, adapter_tokens={}), adapters, lane)

    run_pass(context, decoder, jobs, compute, totals)
    return context.processes.sum(totals.sums_3X).cpu()
