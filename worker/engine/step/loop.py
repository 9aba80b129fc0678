"""The body of the training loop: one round makes one optimizer step with every trainee of a cohort."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from core.errors import JobError
from worker.engine.adapters.adapter import Adapter
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.kernels.loss import TokenLosses
from worker.engine.step.context import PassContext
from worker.engine.step.objective_pass import ObjectiveResult, ObjectiveRows, compute_objectives, row_sums
from worker.engine.step.passes import Abandoned, decoder_of, forward, run_pass
from worker.engine.step.processes import Processes
from worker.engine.step.totals import Evaluation, Score, Totals
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows import Row


def train_round(context: PassContext, trainees: Sequence[Trainee]) -> dict[str, StepResult | Exception]:
    """Make one step with each trainee. Return the results by the names of the adapters.

    An error among the results concerns only its trainee. The loss is the sum of the trainees' means, so a
    trainee's gradient does not depend on its neighbours. An objective beyond cross-entropy finds the weight
    of each row in an additional pass before the training pass. Each process computes a part of the
    micro-batches, and all processes take the step. If the round is abandoned, no trainee makes a step and the
    result is empty.
    """
    processes = context.processes
    rows = {trainee.adapter.name: trainee.next_rows for trainee in trainees}
    adapters = [trainee.adapter for trainee in trainees]
    decoder = decoder_of(context.base, adapters)
    for trainee in trainees:
        trainee.begin_step()

    def forward_and_backward(lane: int, batch: MicroBatch) -> TokenLosses:
        losses = forward(decoder, batch, adapters, lane)
        losses.total.backward()
        return losses

    try:
        objectives = _compute_objectives(context, trainees)
        jobs = [
            _job_rows(trainee, part, objectives.get(name))
            for trainee, (name, part) in zip(trainees, rows.items(), strict=True)
        ]
        totals = Totals(rows, context.base.device)
        run_pass(context, decoder, jobs, forward_and_backward, totals)
        for adapter in adapters:
            adapter.parameters.gather()
            processes.sum(adapter.parameters.gradient)
        processes.sum(totals.sums_A3)
        means = totals.evaluations() | {name: result.evaluation for name, result in objectives.items()}
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

    `rows` must be the first rows of its validation file, or all of them, because the base model's
    log-probabilities are kept by the rows' numbers. Raises Abandoned as `run_pass` does.
    """
    if trainee.objective is None:
        return evaluate(context, trainee.adapter, rows)
    trainee.adapter.parameters.refresh()
    part = ObjectiveRows(
        trainee.adapter,
        trainee.objective,
        rows,
        range(len(rows)),
        trainee.validation_references,
        parent_values=trainee.parent_values,
    )
    (result,) = compute_objectives(context, [part])
    return result.evaluation


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


@torch.no_grad()
def evaluate(context: PassContext, adapter: Adapter, rows: Sequence[Row]) -> Evaluation:
    """Return loss and accuracy of `adapter` on `rows`, without training.

    Raises Abandoned as `run_pass` does.
    """
    adapter.parameters.refresh()
    totals = Totals([adapter.name], context.base.device)

    @torch.no_grad()  # the setting above does not hold on the threads of the lanes
    def compute(lane: int, batch: MicroBatch) -> TokenLosses:
        return forward(adapter.decoder, batch, [adapter], lane)

    run_pass(context, adapter.decoder, [JobRows(adapter.name, rows, 0.0)], compute, totals)
    context.processes.sum(totals.sums_A3)
    return totals.evaluations()[adapter.name]


def _compute_objectives(context: PassContext, trainees: Sequence[Trainee]) -> dict[str, ObjectiveResult]:
    """Return the results of those trainees that have an objective beyond cross-entropy, by adapter."""
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
    results = compute_objectives(context, parts)
    return {part.adapter.name: result for part, result in zip(parts, results, strict=True)}


def _job_rows(trainee: Trainee, rows: Sequence[Row], objective: ObjectiveResult | None) -> JobRows:
    """Return the rows that are learnt in a step, with their weights.

    Rows with weight 0, which the objective only measures, are left out, unless all weights are 0.
    """
    name, seed, apart = trainee.adapter.name, trainee.dropout_seed, trainee.deterministic
    if objective is None:
        weight = 1 / sum(row.weight for row in rows)
        return JobRows(name, rows, weight, dropout_seed=seed, apart=apart)
    weighty = [number for number, weight in enumerate(objective.weights) if weight] or range(len(rows))
    learnt, weights = [rows[number] for number in weighty], [objective.weights[number] for number in weighty]
    return JobRows(name, learnt, 1.0, weights, seed, apart)


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
