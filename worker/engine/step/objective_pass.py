"""A pass over the rows of objectives beyond cross-entropy, without gradient, for their log-probabilities.

From these an objective makes its loss, its metrics and a weight for each row. A validation needs nothing
else. `step_objectives.py` says which rows of a training step need this pass.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import overload

import torch
from torch import Tensor

from worker.engine.adapters.adapter import Adapter
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.spread_work import SavedTokens
from worker.engine.objectives.objective import ObjectiveLoss, Scores, outcome
from worker.engine.step.context import PassContext
from worker.engine.step.passes import SpreadRowPass, row_sums
from worker.engine.step.references import References
from worker.engine.step.totals import Evaluation
from worker.rows.row import Row


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

    def only(self, indices: Sequence[int]) -> "ObjectiveRows":
        """Return only the selected rows with these indices."""
        return replace(self, numbers=[self.numbers[index] for index in indices])

    @property
    def as_job(self) -> JobRows:
        name, seed = self.adapter.name, self.dropout_seed
        return JobRows(name, self.selected, 1.0, dropout_seed=seed, apart=self.apart)


ComputedRows = JobRows | ObjectiveRows
"""Rows whose loss is a cross-entropy, or rows for which an objective is computed."""


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


def complete_references(context: PassContext, compared: ObjectiveRows) -> None:
    """Compute the reference's log-probabilities of the selected rows, if they are needed and not known yet.

    Raises Abandoned as `run_pass` does.
    """
    if not compared.objective.needs_reference:
        return
    for numbers in compared.references.missing(compared.numbers):
        nll_X = row_sums(*_of_reference(context, compared), [_reference_rows(compared, numbers)])[0]
        compared.references.keep(numbers, (-nll_X).tolist())


def advance_references(context: PassContext, compared: ObjectiveRows, saved: SavedTokens) -> bool:
    """Do the part of `complete_references` that the tokens suffice for. Return whether nothing is left.

    Candidates of a search go on with what one of them has begun.
    """
    references = compared.references
    for numbers in references.missing(compared.numbers) if compared.objective.needs_reference else []:
        begun = references.begun_with(numbers, context.max_tokens)
        begun = begun or SpreadRowPass(context, _reference_rows(compared, numbers))
        references.begun = None  # an error loses it
        sums_3X = begun.advance(*_of_reference(context, compared), saved)
        if sums_3X is None:
            references.begun = numbers, begun
            return False
        references.keep(numbers, (-sums_3X[0]).tolist())
    return True


def _reference_rows(compared: ObjectiveRows, numbers: Sequence[int]) -> JobRows:
    return JobRows(compared.adapter.name, Selected(compared.rows, numbers), 1.0)


def _of_reference(context: PassContext, compared: ObjectiveRows) -> tuple[PassContext, Sequence[Adapter]]:
    """Return the context and the adapters of the reference: no adapter, or this one with its parent's values.

    Between two micro-batches the adapter has its own values: its job may be saved there.
    """
    if compared.parent_values is None:
        return context, []
    as_parent = partial(_as_parent, compared.adapter, compared.parent_values)
    return replace(context, computing=as_parent), [compared.adapter]


@contextmanager
def _as_parent(adapter: Adapter, values: Tensor) -> Iterator[None]:
    """Let the adapter compute with its parent's values inside, and with all ranks."""
    dynamic = adapter.dynamic_rank
    with dynamic.whole() if dynamic else nullcontext(), adapter.parameters.holding(values):
        yield
    if dynamic:
        adapter.parameters.refresh()  # with the rank that is drawn for the step


def evaluation_of(compared: ObjectiveRows, sums_3X: Tensor) -> Evaluation:
    """Return loss, accuracy and metrics of the selected rows from their `RowTotals.sums_3X`."""
    _, correct_X, tokens_X = sums_3X
    scores = _scores(compared, sums_3X)
    found = outcome(compared.objective, scores)
    accuracy = (correct_X[scores.desirable_X].sum() / tokens_X[scores.desirable_X].sum()).item()
    return Evaluation(found.loss, accuracy, found.metrics)


def row_weights(compared: ObjectiveRows, sums_3X: Tensor) -> Tensor:
    """Return the weight of each selected row in the gradient of the selected examples' mean loss, [X].

    A weight multiplies the row's cross-entropy, summed over its tokens.
    """
    return -outcome(compared.objective, _scores(compared, sums_3X)).slope_X


def _scores(compared: ObjectiveRows, sums_3X: Tensor) -> Scores:
    nll_X, _, tokens_X = sums_3X
    desirable_X = torch.tensor([row.desirable for row in compared.selected])
    return Scores(-nll_X, tokens_X, compared.references.of(compared.numbers), desirable_X)
