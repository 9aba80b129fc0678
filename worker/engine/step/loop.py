"""The body of the training loop: one round makes one optimizer step with every trainee of a cohort."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from core.errors import JobError
from worker.engine.adapters.adapter import Adapter
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.kernels.loss import TokenLosses
from worker.engine.step.context import PassContext
from worker.engine.step.objective_pass import ObjectiveRows, complete_references, evaluation_of, row_sums
from worker.engine.step.passes import Abandoned, decoder_of, forward, run_pass
from worker.engine.step.processes import Processes
from worker.engine.step.step_objectives import StepPart, WeightsInPass, prepare
from worker.engine.step.totals import Evaluation, RowTotals, Score, Totals
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows import Row


def train_round(context: PassContext, trainees: Sequence[Trainee]) -> dict[str, StepResult | Exception]:
    """Make one step with each trainee. Return the results by the names of the adapters.

    An error among the results concerns only its trainee. The loss is the sum of the trainees' means, so a
    trainee's gradient does not depend on its neighbours. An objective beyond cross-entropy finds the weight
    of each row between the forward and the backward pass, or in an additional pass before. Each process
    computes a part of the micro-batches, and all processes take the step. If the round is abandoned, no
    trainee makes a step and the result is empty.
    """
    processes = context.processes
    rows = {trainee.adapter.name: trainee.next_rows for trainee in trainees}
    adapters = [trainee.adapter for trainee in trainees]
    decoder = decoder_of(context.base, adapters)
    for trainee in trainees:
        trainee.begin_step()

    try:
        parts = _objective_parts(context, trainees)
        jobs = [
            parts[name].as_job if name in parts else _job_rows(trainee, rows[name])
            for name, trainee in zip(rows, trainees, strict=True)
        ]
        weights = WeightsInPass(jobs, [parts.get(name) for name in rows])

        def forward_and_backward(lane: int, batch: MicroBatch) -> TokenLosses:
            losses = forward(decoder, batch, adapters, lane, context.recompute)
            losses.weighted_S.backward(weights.of(batch, losses))
            return losses

        totals = StepTotals(rows, sum(len(job.rows) for job in jobs), context.base.device)
        run_pass(context, decoder, jobs, forward_and_backward, totals)
        for adapter in adapters:
            adapter.parameters.gather()
            processes.sum(adapter.parameters.gradient)
        means = totals.evaluations(processes, jobs, parts)
    except Abandoned:
        _forget(trainees)
        return {}
    except Exception:
        _forget(trainees)
        raise
    return {
        name: _step(trainee, rows[name], means[name], processes)
        for name, trainee in zip(rows, trainees, strict=True)
    }


def validate(context: PassContext, trainee: Trainee, rows: Sequence[Row]) -> Evaluation:
    """Return loss, accuracy and metrics of the trainee's objective on `rows`, without training.

    `rows` are as in `validate_beginnings`. Raises Abandoned as `run_pass` does.
    """
    return validate_beginnings(context, trainee, rows, [len(rows)])[0]


def validate_beginnings(
    context: PassContext, trainee: Trainee, rows: Sequence[Row], counts: Sequence[int]
) -> list[Evaluation]:
    """Return what `validate` returns for the first rows, for each of `counts`, from one pass over `rows`.

    `rows` must be the first rows of its validation file, or all of them, because the base model's
    log-probabilities are kept by the rows' numbers. Raises Abandoned as `run_pass` does.
    """
    trainee.adapter.parameters.refresh()
    if trainee.objective is None:
        sums_3X = row_sums(context, [trainee.adapter], [JobRows(trainee.adapter.name, rows, 1.0)])
        return [_mean(sums_3X[:, :count]) for count in counts]
    part = ObjectiveRows(
        trainee.adapter,
        trainee.objective,
        rows,
        range(len(rows)),
        trainee.validation_references,
        parent_values=trainee.parent_values,
    )
    complete_references(context, part)
    sums_3X = row_sums(context, [part.adapter], [part.as_job])
    return [evaluation_of(part.only(range(count)), sums_3X[:, :count]) for count in counts]


def measure(context: PassContext, trainee: Trainee, rows: Sequence[Row]) -> Score:
    """Return the loss that `validate` returns and, if the loss is a cross-entropy, each row's part in it.

    Raises Abandoned as `run_pass` does.
    """
    if trainee.objective is not None:
        return Score(validate(context, trainee, rows).loss)
    trainee.adapter.parameters.refresh()
    job = JobRows(trainee.adapter.name, rows, 1.0)
    nll_X, _, tokens_X = row_sums(context, [trainee.adapter], [job])
    return Score((nll_X.sum() / tokens_X.sum()).item(), nll_X.numpy(), tokens_X.numpy())


def evaluate(context: PassContext, adapter: Adapter, rows: Sequence[Row]) -> Evaluation:
    """Return loss and accuracy of `adapter` on `rows`, without training.

    Raises Abandoned as `run_pass` does.
    """
    adapter.parameters.refresh()
    return _mean(row_sums(context, [adapter], [JobRows(adapter.name, rows, 1.0)]))


def _mean(sums_3X: Tensor) -> Evaluation:
    """Return the means over the rows whose `RowTotals.sums_3X` are given."""
    nll, correct, tokens = sums_3X.sum(1).tolist()
    return Evaluation(nll / tokens, correct / tokens)


class StepTotals:
    """The sums of a training pass: by adapter, and by row for objectives beyond cross-entropy."""

    def __init__(self, names: Iterable[str], rows: int, device: torch.device) -> None:
        self._totals, self._row_totals = Totals(names, device), RowTotals(rows, device)

    def add(self, batch: MicroBatch, losses: TokenLosses) -> None:
        self._totals.add(batch, losses)
        self._row_totals.add(batch, losses)

    def evaluations(
        self, processes: Processes, jobs: Sequence[JobRows], parts: Mapping[str, StepPart]
    ) -> dict[str, Evaluation]:
        """Return the evaluation of each adapter, after adding up the sums over the processes."""
        processes.sum(self._totals.sums_A3)
        found = self._totals.evaluations()
        if parts:
            sums_3X = processes.sum(self._row_totals.sums_3X).cpu()
            by_job = sums_3X.split([len(job.rows) for job in jobs], dim=1)
            sums = {job.adapter: job_3X for job, job_3X in zip(jobs, by_job, strict=True)}
            found |= {name: part.evaluation(sums[name]) for name, part in parts.items()}
        return found


def _objective_parts(context: PassContext, trainees: Sequence[Trainee]) -> dict[str, StepPart]:
    """Return the rows of those trainees that have an objective beyond cross-entropy, by adapter."""
    parts = [
        ObjectiveRows(
            trainee.adapter,
            trainee.objective,
            trainee.rows,
            trainee.next_numbers,
            trainee.references,
            trainee.dropout_seed,
            trainee.parent_values,
            trainee.deterministic,
        )
        for trainee in trainees
        if trainee.objective is not None
    ]
    if not parts:
        return {}
    return {part.rows.adapter.name: part for part in prepare(context, parts)}


def _job_rows(trainee: Trainee, rows: Sequence[Row]) -> JobRows:
    """Return the rows of a step whose loss is a cross-entropy."""
    weight = 1 / sum(row.weight for row in rows)
    seed, apart = trainee.dropout_seed, trainee.deterministic
    return JobRows(trainee.adapter.name, rows, weight, dropout_seed=seed, apart=apart)


def _forget(trainees: Sequence[Trainee]) -> None:
    for trainee in trainees:
        trainee.forget_gradient()


def _step(
    trainee: Trainee, rows: Sequence[Row], mean: Evaluation, processes: Processes
) -> StepResult | Exception:
    """Make the trainee's step, and return its result, or an error that concerns only this trainee."""
    try:
        result = trainee.take_step(rows, mean.loss, mean.accuracy)
        return replace(result, metrics={**result.metrics, **mean.metrics}) if mean.metrics else result
    except JobError as error:
        return error
    except Exception as error:
        if processes.size > 1:  # the other processes may have made the step
            raise
        return error
