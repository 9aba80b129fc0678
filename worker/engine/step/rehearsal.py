"""Computes a step or an evaluation once without any effect, to see what it takes.

Neither a parameter nor a kept log-probability changes, and no random number is drawn. So a job that has
rehearsed ends with the same adapter, to the bit.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from worker.engine.batch.grouping import group_tokens, groups_of
from worker.engine.device.peak_memory import peak_memory
from worker.engine.step.context import PassContext
from worker.engine.step.loop import gradients, validate
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row
from worker.rows.row_store import lengths_of

SAMPLED_STEPS = 8


@dataclass(frozen=True)
class Rehearsed:
    """What the rows of a step or an evaluation are, and what it took."""

    tokens: int
    micro_batch: int
    """Tokens of the largest micro-batch"""
    longest_row: int
    usual_row: int
    """Tokens of the row in which a token stands on average"""
    supervised: float
    """The share of tokens that are learnt"""
    seconds: float
    bytes: int


def longest_step(trainee: Trainee, step_tokens: int) -> int:
    """Return the number of steps before the one of the first epoch whose largest micro-batch is largest.

    Among steps that fill a micro-batch, it is the one with the longest row. Rollouts are taken to be as
    long as they may be.
    """
    lengths_ES, order_E = trainee.example_lengths, trainee.first_order
    starts = np.arange(0, len(order_E), trainee.batch_size)
    tokens_S = np.add.reduceat(lengths_ES.sum(1)[order_E], starts)
    longest_S = np.maximum.reduceat(lengths_ES.max(1)[order_E], starts)
    filled_S = np.maximum(np.minimum(tokens_S, step_tokens), longest_S)
    return int(np.lexsort((tokens_S, longest_S, filled_S))[-1])


def longest_rows(rows: Sequence[Row], rows_per_example: int, step_tokens: int) -> list[Row]:
    """Return the longest examples, as many as fill a micro-batch, and at least one."""
    size = rows_per_example
    tokens_E = lengths_of(rows)[: size * (len(rows) // size)].reshape(-1, size).sum(1)
    order_E = np.argsort(-tokens_E, kind="stable")
    count = 1 + int(np.searchsorted(np.cumsum(tokens_E[order_E]), step_tokens))
    return [rows[int(example) * size + part] for example in order_E[:count] for part in range(size)]


def computed_share(trainee: Trainee, step_tokens: int) -> float:
    """Return the share of the first epoch's tokens that are computed, by some of its steps.

    A beginning that rows of a micro-batch share is computed once.
    """
    steps = range(0, trainee.steps_per_epoch, max(1, trainee.steps_per_epoch // SAMPLED_STEPS))
    tokens = computed = 0
    for step in list(steps)[:SAMPLED_STEPS]:
        rows = trainee.rows_after(step)
        tokens += sum(len(row.tokens_L) for row in rows)
        computed += sum(map(group_tokens, groups_of([trainee.as_job(rows)], step_tokens)))
    return round(computed / tokens, 4)


def rehearse_step(context: PassContext, trainees: Sequence[Trainee], step: int) -> Rehearsed:
    """Compute the gradients of the step after `step` steps, and forget them. Raises Abandoned."""
    rows = trainees[0].rows_after(step)
    with _rehearsing(trainees), peak_memory(context.base.device) as peak:
        began = time.monotonic()
        gradients(context, trainees, step)
        seconds = time.monotonic() - began
    return _rehearsed(context, trainees[0], rows, len(trainees), seconds, peak.bytes)


def rehearse_evaluation(context: PassContext, trainee: Trainee, rows: Sequence[Row]) -> Rehearsed:
    """Evaluate on the rows, and forget the result. Raises Abandoned."""
    with _rehearsing([trainee]), peak_memory(context.base.device) as peak:
        began = time.monotonic()
        validate(context, trainee, rows)
        seconds = time.monotonic() - began
    return _rehearsed(context, trainee, rows, 1, seconds, peak.bytes)


@contextmanager
def _rehearsing(trainees: Sequence[Trainee]) -> Iterator[None]:
    with ExitStack() as stack:
        for trainee in trainees:
            stack.enter_context(trainee.rehearsing())
        yield


def _rehearsed(
    context: PassContext, trainee: Trainee, rows: Sequence[Row], times: int, seconds: float, peak: int
) -> Rehearsed:
    lengths_X = lengths_of(rows)
    tokens = int(lengths_X.sum())
    groups = groups_of([trainee.as_job(rows)] * times, context.max_tokens, context.processes.size)
    return Rehearsed(
        tokens=times * tokens,
        micro_batch=max(map(group_tokens, groups)),
        longest_row=int(lengths_X.max()),
        usual_row=round(float((lengths_X.astype(float) ** 2).sum()) / tokens),
        supervised=sum(row.supervised for row in rows) / tokens,
        seconds=round(seconds, 4),
        bytes=peak,
    )
