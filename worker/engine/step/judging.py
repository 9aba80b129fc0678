"""What a step's rows come to by their job's objective: its loss, its metrics, and what each row weighs in it.

The rows are computed twice: here without gradient, for their log-probabilities, and once more with it, for
the weighted cross-entropy that has the objective's gradient. So no more than one micro-batch is held at
a time, however many rows an objective compares. Lanes, processes and neighbours work as for any other job.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
class Question:
    """Examples to judge: the rows of these `numbers` among `rows`, those of an example side by side.

    With the `draw` of a step the adapter computes what it will in the training pass, dropout included.
    """

    adapter: Adapter
    objective: ObjectiveLoss
    rows: Sequence[Row]
    numbers: Sequence[int]
    references: References
    draw: int | None = None

    @property
    def asked(self) -> list[Row]:
        return [self.rows[number] for number in self.numbers]


@dataclass(frozen=True)
class Judgement:
    """`weights` are what each asked row's cross-entropy, summed over its tokens, weighs in the gradient."""

    evaluation: Evaluation
    weights: list[float]


def judge(context: PassContext, questions: Sequence[Question]) -> list[Judgement]:
    """Return the judgement of each question, in their order. Raises Abandoned as `run_pass` does."""
    for question in questions:
        if question.objective.needs_reference:
            _complete(context, question)
    jobs = [JobRows(question.adapter.name, question.asked, 1.0, draw=question.draw) for question in questions]
    sums_3X = row_sums(context, [question.adapter for question in questions], jobs)
    counts = [len(question.numbers) for question in questions]
    return [
        _judgement(question, part_3X)
        for question, part_3X in zip(questions, sums_3X.split(counts, dim=1), strict=True)
    ]


def _complete(context: PassContext, question: Question) -> None:
    """Have the base's log-probabilities of all asked rows."""
    for numbers in question.references.missing(question.numbers):
        rows = [question.rows[number] for number in numbers]
        nll_X = row_sums(context, [], [JobRows(question.adapter.name, rows, 1.0)])[0]
        question.references.keep(numbers, (-nll_X).tolist())


def _judgement(question: Question, sums_3X: Tensor) -> Judgement:
    nll_X, correct_X, tokens_X = sums_3X
    desirable_X = torch.tensor([row.desirable for row in question.asked])
    scores = Scores(-nll_X, tokens_X, question.references.of(question.numbers), desirable_X)
    found = outcome(question.objective, scores)
    accuracy = (correct_X[desirable_X].sum() / tokens_X[desirable_X].sum()).item()
    return Judgement(Evaluation(found.loss, accuracy, found.metrics), (-found.slope_X).tolist())


@torch.no_grad()
def row_sums(context: PassContext, adapters: Sequence[Adapter], jobs: Sequence[JobRows]) -> Tensor:
    """Return the sums of each row, in the jobs' order, [3, X], as `RowTotals` has them.

    Without adapters the bare base computes. Raises Abandoned as `run_pass` does.
    """
    totals = RowTotals(sum(len(job.rows) for job in jobs), context.base.device)
    decoder = decoder_of(context.base, adapters)

    @torch.no_grad()  # a lane's thread does not know of the one above
    def compute(lane: int, part: MicroBatch) -> TokenLosses:
        return forward(decoder, part if adapters else replace(part, adapter_tokens={}), adapters, lane)

    run_pass(context, decoder, jobs, compute, totals)
    return context.processes.sum(totals.sums_3X).cpu()
