"""The training loop's body: one round moves every job of a cohort by one optimizer step."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from core.errors import JobError
from worker.data.render import Row
from worker.engine.adapter import Adapter
from worker.engine.base_model import ResidentBase
from worker.engine.grouping import JobRows
from worker.engine.judging import Judgement, Question, judge, row_sums
from worker.engine.loss import TokenLosses
from worker.engine.member import Member, StepResult
from worker.engine.micro_batch import MicroBatch
from worker.engine.passes import Abandoned, compute_all, decoder_of, forward, lanes_of, micro_batches
from worker.engine.ranks import ALONE, Ranks
from worker.engine.totals import Evaluation, Score, Totals


def train_round(
    base: ResidentBase,
    members: Sequence[Member],
    max_tokens: int,
    abandon: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> dict[str, StepResult | Exception]:
    """One step for each member, by its adapter's name; an error there concerns that member alone.

    The loss is the sum of the members' means, so a member's gradient does not depend on its neighbours. What
    a row weighs in it, an objective beyond cross-entropy finds out before, in a pass of its own. Each rank
    computes a part of the micro-batches, and all take the step. Where `abandon` says so between two
    micro-batches, no member has moved and the result is empty; a rank among several must not.
    """
    rows = {member.adapter.name: member.next_rows for member in members}
    adapters = [member.adapter for member in members]
    decoder = decoder_of(base, adapters)
    for member in members:
        member.begin_step()

    def forward_and_backward(lane: int, batch: MicroBatch) -> TokenLosses:
        losses = forward(decoder, batch, adapters, lane)
        losses.total.backward()
        return losses

    try:
        judgements = _judge_step(base, members, max_tokens, ranks, abandon)
        jobs = [
            _job_rows(member, part, judgements.get(name))
            for member, (name, part) in zip(members, rows.items(), strict=True)
        ]
        totals = Totals(rows, base.device)
        batches = micro_batches(base, jobs, max_tokens, ranks)
        with ranks.together(in_step=base.sharded):
            finished = compute_all(lanes_of(base, decoder), batches, forward_and_backward, totals, abandon)
        if not finished:
            raise Abandoned
        for adapter in adapters:
            adapter.parameters.gather()
            ranks.sum(adapter.parameters.gradient)
        ranks.sum(totals.sums_A3)
        means = totals.evaluations() | {name: judged.evaluation for name, judged in judgements.items()}
    except Abandoned:
        _forget(members)
        return {}
    except Exception:
        _forget(members)
        raise
    return {
        name: _step(member, rows[name], means[name], ranks)
        for name, member in zip(rows, members, strict=True)
    }


def validate(
    base: ResidentBase,
    member: Member,
    rows: Sequence[Row],
    max_tokens: int,
    ranks: Ranks = ALONE,
    abandon: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """What the member's objective makes of the first rows of its validation file: all, or so many.

    Raises as `evaluate` does.
    """
    if member.objective is None:
        return evaluate(base, member.adapter, rows, max_tokens, ranks, abandon)
    member.adapter.parameters.refresh()
    question = Question(
        member.adapter, member.objective, rows, range(len(rows)), member.validation_references
    )
    (judged,) = judge(base, [question], max_tokens, ranks, abandon)
    return judged.evaluation


def measure(
    base: ResidentBase,
    member: Member,
    rows: Sequence[Row],
    max_tokens: int,
    ranks: Ranks = ALONE,
    abandon: Callable[[], bool] = lambda: False,
) -> Score:
    """The loss that `validate` finds and, of a cross-entropy, each row's part in it. Raises as that does."""
    if member.objective is not None:
        return Score(validate(base, member, rows, max_tokens, ranks, abandon).loss)
    member.adapter.parameters.refresh()
    job = JobRows(member.adapter.name, rows, 1.0)
    nll_R, _, tokens_R = row_sums(base, [member.adapter], [job], max_tokens, ranks, abandon)
    return Score((nll_R.sum() / tokens_R.sum()).item(), nll_R.numpy(), tokens_R.numpy())


@torch.no_grad()
def evaluate(
    base: ResidentBase,
    adapter: Adapter,
    rows: Sequence[Row],
    max_tokens: int,
    ranks: Ranks = ALONE,
    abandon: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Loss and accuracy of `adapter` on `rows`, without training.

    Raises Abandoned where `abandon` says so between two micro-batches; a rank among several must not.
    """
    adapter.parameters.refresh()
    totals = Totals([adapter.name], base.device)

    @torch.no_grad()  # a lane's thread does not know of the one above
    def compute(lane: int, batch: MicroBatch) -> TokenLosses:
        return forward(adapter.decoder, batch, [adapter], lane)

    batches = micro_batches(base, [JobRows(adapter.name, rows, 0.0)], max_tokens, ranks)
    with ranks.together(in_step=base.sharded):
        if not compute_all(lanes_of(base, adapter.decoder), batches, compute, totals, abandon):
            raise Abandoned
    ranks.sum(totals.sums_A3)
    return totals.evaluations()[adapter.name]


def _judge_step(
    base: ResidentBase,
    members: Sequence[Member],
    max_tokens: int,
    ranks: Ranks,
    abandon: Callable[[], bool],
) -> dict[str, Judgement]:
    """Of the members that have an objective beyond cross-entropy, by adapter."""
    questions = [
        Question(
            member.adapter,
            member.objective,
            member.rows,
            member.next_numbers,
            member.references,
            member.draw,
        )
        for member in members
        if member.objective is not None
    ]
    if not questions:
        return {}
    judgements = judge(base, questions, max_tokens, ranks, abandon)
    return {question.adapter.name: judged for question, judged in zip(questions, judgements, strict=True)}


def _job_rows(member: Member, rows: Sequence[Row], judged: Judgement | None) -> JobRows:
    """What is learnt in a step: all rows, or those that the objective does not only measure."""
    name, draw = member.adapter.name, member.draw
    if judged is None:
        return JobRows(name, rows, 1 / sum(row.weight for row in rows), draw=draw)
    weighty = [number for number, weight in enumerate(judged.weights) if weight] or range(len(rows))
    learnt, weights = [rows[number] for number in weighty], [judged.weights[number] for number in weighty]
    return JobRows(name, learnt, 1.0, weights, draw)


def _forget(members: Sequence[Member]) -> None:
    for member in members:
        member.forget_gradient()


def _step(member: Member, rows: Sequence[Row], mean: Evaluation, ranks: Ranks) -> StepResult | Exception:
    """Whatever breaks is the member's own: those that have stepped keep their steps."""
    try:
        result = member.take_step(rows, mean.loss, mean.accuracy)
        return replace(result, metrics={**result.metrics, **mean.metrics}) if mean.metrics else result
    except JobError as error:
        return error
    except Exception as error:
        if ranks.size > 1:  # the other ranks may have stepped
            raise
        return error
