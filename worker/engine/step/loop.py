"""The body of the training loop: a round makes an optimizer step with every trainee of a cohort.

It computes only a share of a step that is much larger than the others.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.batch.grouping import JobRows
from worker.engine.batch.joining import filled_up, supervised_spans
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.kernels.loss import TokenLosses
from worker.engine.step.context import PassContext
from worker.engine.step.objective_pass import ComputedRows, ObjectiveRows, complete_references, evaluation_of
from worker.engine.step.passes import Abandoned, Sums, decoder_of, forward, row_sums, run_pass
from worker.engine.step.steps import Steps
from worker.engine.step.totals import Evaluation, Score
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows.row import Row

SPREAD_FROM = 2
"""A step that has at most so many times the tokens of the smallest step is not spread."""


def train_round(context: PassContext, trainees: Sequence[Trainee]) -> dict[str, StepResult | Exception]:
    """Make one step with each trainee whose step is not spread. Return the results by the adapters' names.

    A step that is much larger than the smallest is spread over rounds: each computes a share of it, and the
    last one makes the step. Until then, its trainee has no result.

    An error among the results concerns only its trainee. The loss is the sum of the trainees' means, so a
    trainee's gradient does not depend on its neighbours. An objective beyond cross-entropy finds the weight
    of each row between the forward and the backward pass, or in an additional pass before. A policy loss
    finds the factor of each token between the two. A trainee of which no rollout has a gradient makes its
    step without an update. Each process computes a part of the micro-batches, and all processes take the
    step. If the round is abandoned, no trainee makes a step and the result is empty. Then, and after an
    error, spread steps begin anew.
    """
    learning = [trainee for trainee in trainees if not trainee.learns_nothing]
    try:
        means = _gradients(context, learning, _shares(context, learning))
        stepping = [trainee for trainee in learning if trainee.name in means]
        norms = [trainee.complete_gradient() for trainee in stepping]
        norms_on_host = torch.stack(norms).tolist() if norms else []
    except Abandoned:
        return {}
    except Exception:
        _forget(trainees)
        raise
    skipped = {trainee.name: trainee.skip_step() for trainee in trainees if trainee not in learning}
    return skipped | {
        trainee.name: trainee.finish_step(means[trainee.name], norm, context.processes)
        for trainee, norm in zip(stepping, norms_on_host, strict=True)
    }


def gradients(context: PassContext, trainees: Sequence[Trainee], step: int) -> Mapping[str, Evaluation]:
    """Gather each trainee's gradient of the step that follows the first `step` steps.

    The trainees need not have made those steps. Return the losses by the adapters' names. An error makes all
    trainees forget their gradients. Raises Abandoned as `run_pass` does.
    """
    return _gradients(context, trainees, {}, step)


def _shares(context: PassContext, trainees: Sequence[Trainee]) -> dict[str, float]:
    """Return how many tokens the round computes of each step that is spread, by the adapters' names.

    A step is spread if it has more tokens than a micro-batch, and more than SPREAD_FROM times those of the
    smallest step. In each round it gets as many tokens as the largest whole step has. So over the rounds no
    other job computes more than the job with the spread step, apart from one micro-batch. If a step was begun
    as a spread one, and no much smaller one is left, then its share is all that is left of it.
    """
    tokens = {}
    for trainee in trainees:
        if trainee.spread is not None and trainee.spread.max_tokens != context.max_tokens:
            trainee.forget_gradient()  # its micro-batches may be too large by now
        if trainee.spread is not None:
            tokens[trainee.name] = trainee.spread.tokens
        elif len(trainees) > 1:
            tokens[trainee.name] = trainee.step_tokens(context.max_tokens)
    limit = max(context.max_tokens, SPREAD_FROM * min(tokens.values(), default=0))
    share = max((count for count in tokens.values() if count <= limit), default=0)
    begun = {trainee.name: math.inf for trainee in trainees if trainee.spread is not None}
    return begun | {name: share for name, count in tokens.items() if count > limit}


def _gradients(
    context: PassContext, trainees: Sequence[Trainee], shares: Mapping[str, float], step: int | None = None
) -> dict[str, Evaluation]:
    """Gather the gradients of the steps: whole ones and, by the adapters' names, shares of spread ones.

    They are the trainees' next steps, or the ones after `step` steps. Return the losses of the steps whose
    gradients are complete. Errors are those of `gradients`.
    """
    processes = context.processes
    adapters = [trainee.adapter for trainee in trainees]
    decoder = decoder_of(context.base, adapters)
    try:
        at_once = [trainee.begin_step(step) for trainee in trainees if trainee.name not in shares]
        whole = Steps.whole(context, at_once)
        spread = {
            trainee.name: trainee.begin_spread_step(context) for trainee in trainees if trainee.name in shares
        }

        def steps_of(batch: MicroBatch) -> Steps:
            name = next(iter(batch.adapter_tokens), None)
            return spread[name].steps if name in spread else whole

        def forward_and_backward(lane: int, batch: MicroBatch) -> TokenLosses:
            losses = forward(decoder, batch, adapters, lane, context.recompute)
            losses.weighted_S.backward(_factors(batch, losses, steps_of))
            return losses

        run_pass(
            context,
            decoder,
            whole.jobs,
            forward_and_backward,
            SumsBySteps(steps_of),
            [spread[name].take(context, share) for name, share in shares.items()],
        )
        means = whole.evaluations(processes)
        for complete in [each for each in spread.values() if each.complete]:
            means |= complete.steps.evaluations(processes)
        for adapter in adapters:
            if adapter.name in means:
                adapter.parameters.gather()
                processes.sum(adapter.parameters.gradient)
        return means
    except Exception:
        _forget(trainees)
        raise


def _factors(batch: MicroBatch, losses: TokenLosses, steps_of: Callable[[MicroBatch], Steps]) -> Tensor:
    """Return the factor of each supervised token's gradient in a lane's part of a micro-batch, [S]."""
    spans = supervised_spans(batch)
    factors = [
        steps_of(member).factors(member, losses.of(span))
        if member.adapter_tokens
        else torch.ones_like(member.weights_S)  # computed to keep step with other processes, for no job
        for member, span in spans
    ]
    return torch.cat([filled_up(each) for each in factors]) if batch.members else factors[0]


class SumsBySteps(Sums):
    """Adds what a training pass computes to the sums of the steps that it belongs to."""

    def __init__(self, steps_of: Callable[[MicroBatch], Steps]) -> None:
        self._steps_of = steps_of

    def add(self, batch: MicroBatch, losses: TokenLosses) -> None:
        if batch.adapter_tokens:
            self._steps_of(batch).add(batch, losses)


@dataclass(frozen=True)
class Validation:
    """Rows on which a trainee is to be evaluated: on the first rows, for each of `counts`.

    `rows` must be the first rows of its validation file, or all of them, because the reference's
    log-probabilities are kept by the rows' numbers.
    """

    trainee: Trainee
    rows: Sequence[Row]
    counts: Sequence[int]


def validate(context: PassContext, trainee: Trainee, rows: Sequence[Row]) -> Evaluation:
    """Return loss, accuracy and metrics of the trainee's objective on `rows`, without training.

    `rows` are as in `Validation`. Raises Abandoned as `run_pass` does.
    """
    return validate_together(context, [Validation(trainee, rows, [len(rows)])])[0][0]


def validate_together(context: PassContext, validations: Sequence[Validation]) -> list[list[Evaluation]]:
    """Return, for each of `validations`, its evaluations by its counts, from one pass over the rows of all.

    Each trainee gets what it gets alone: to the bit if it is deterministic, else except for rounding. Raises
    Abandoned as `run_pass` does.
    """
    rows = [validation.trainee.begin_validation(validation.rows) for validation in validations]
    for part in rows:
        if isinstance(part, ObjectiveRows):
            complete_references(context, part)
    jobs = [part.as_job if isinstance(part, ObjectiveRows) else part for part in rows]
    sums_3X = row_sums(context, [validation.trainee.adapter for validation in validations], jobs)
    each_3X = sums_3X.split([len(job.rows) for job in jobs], dim=1)
    return [
        [_evaluation(part, own_3X[:, :count]) for count in validation.counts]
        for validation, part, own_3X in zip(validations, rows, each_3X, strict=True)
    ]


def _evaluation(part: ComputedRows, sums_3X: Tensor) -> Evaluation:
    """Return the evaluation of the first rows, whose `RowTotals.sums_3X` are given."""
    if isinstance(part, ObjectiveRows):
        return evaluation_of(part.only(range(sums_3X.shape[1])), sums_3X)
    nll, correct, tokens = sums_3X.sum(1).tolist()
    return Evaluation(nll / tokens, correct / tokens)


def measure(context: PassContext, trainee: Trainee, rows: Sequence[Row]) -> Score:
    """Return the loss that `validate` returns and, if the loss is a cross-entropy, each row's part in it.

    Raises Abandoned as `run_pass` does.
    """
    if trainee.objective is not None:
        return Score(validate(context, trainee, rows).loss)
    nll_X, tokens_X = _cross_entropies(context, trainee, rows)
    return Score((nll_X.sum() / tokens_X.sum()).item(), nll_X.numpy(), tokens_X.numpy())


def row_losses(context: PassContext, trainee: Trainee, rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return the cross-entropy of each row per learnt token, in nats, whatever the trainee's objective is.

    Raises Abandoned as `run_pass` does.
    """
    nll_X, tokens_X = _cross_entropies(context, trainee, rows)
    return (nll_X / tokens_X).numpy()


def _cross_entropies(context: PassContext, trainee: Trainee, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Return the sums of each row, weighted: of the losses and of the learnt tokens, [X] each."""
    trainee.adapter.parameters.refresh()
    nll_X, _, tokens_X = row_sums(context, [trainee.adapter], [JobRows(trainee.name, rows, 1.0)])
    return nll_X, tokens_X


def _forget(trainees: Sequence[Trainee]) -> None:
    for trainee in trainees:
        trainee.forget_gradient()
