"""Steps in training passes: their rows, what is known of the rows, and their sums so far.

Usually a pass computes a step as a whole. A step that is much larger than its neighbours' is spread over the
passes of several rounds, so that the neighbours need not wait for all of it.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from worker.engine.batch.grouping import (
    Group,
    JobRows,
    cut_together,
    group_tokens,
    groups_of,
    numbered,
    portions,
)
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.kernels.loss import TokenLosses
from worker.engine.step.processes import Processes
from worker.engine.step.step_objectives import StepPart, WeightsInPass
from worker.engine.step.totals import Evaluation, RowTotals, Totals


class Steps:
    """The steps of some jobs, one of each, whose rows are numbered through the jobs.

    It adds up the sums of what has been computed: by adapter, and by row for objectives beyond cross-entropy.
    """

    def __init__(self, jobs: Sequence[JobRows], parts: Mapping[str, StepPart], device: torch.device) -> None:
        """`parts` has, by adapter, what is known of a step whose objective is not a cross-entropy."""
        self.jobs, self._parts = jobs, parts
        self._weights = WeightsInPass(jobs, [parts.get(job.adapter) for job in jobs])
        self._totals = Totals([job.adapter for job in jobs], device)
        self._row_totals = RowTotals(sum(len(job.rows) for job in jobs), device)

    def factors(self, batch: MicroBatch, losses: TokenLosses) -> Tensor:
        """Return the factor of each supervised token's gradient, as `WeightsInPass.of` does."""
        return self._weights.of(batch, losses)

    def add(self, batch: MicroBatch, losses: TokenLosses) -> None:
        self._totals.add(batch, losses)
        self._row_totals.add(batch, losses)

    def evaluations(self, processes: Processes) -> dict[str, Evaluation]:
        """Return the evaluation of each adapter, after adding up the sums over the processes."""
        if not self.jobs:
            return {}
        processes.sum(self._totals.sums_A3)
        found = self._totals.evaluations()
        if self._parts:
            sums_3X = processes.sum(self._row_totals.sums_3X).cpu()
            by_job = sums_3X.split([len(job.rows) for job in self.jobs], dim=1)
            sums = {job.adapter: job_3X for job, job_3X in zip(self.jobs, by_job, strict=True)}
            found |= {name: part.evaluation(sums[name]) for name, part in self._parts.items()}
        return found


class SpreadStep:
    """The step of one job, of which each round computes some micro-batches.

    The rows are cut into micro-batches as they are for a job that is cut apart, whatever the rounds compute
    beside them. Meanwhile the gradient stays where it adds up, so the step takes no further memory on the
    device.
    """

    def __init__(self, steps: Steps, max_tokens: int, processes: int) -> None:
        """`processes` of the micro-batches are computed at once, one by each process."""
        (job,) = steps.jobs
        self.steps, self.max_tokens = steps, max_tokens
        self._left = deque(_at_once(job, max_tokens, processes))
        self._saved = 0.0  # the tokens that the step may still compute
        self.tokens = sum(map(_tokens, self._left))
        """The tokens that the whole step computes"""

    @property
    def complete(self) -> bool:
        """Whether no micro-batch is left to take."""
        return not self._left

    def take(self, tokens: float) -> list[Group]:
        """Return the next micro-batches that `tokens` suffice for, with those saved since the last one."""
        self._saved += tokens
        taken: list[Group] = []
        while self._left and _tokens(self._left[0]) <= self._saved:
            self._saved -= _tokens(self._left[0])
            taken += self._left.popleft()
        return taken


def step_tokens(job: JobRows, max_tokens: int) -> int:
    """Return how many tokens a step computes if its rows are cut into micro-batches by themselves.

    A step that fits into one micro-batch is not looked into: a beginning that its rows share counts for each.
    """
    tokens = sum(len(row.tokens_L) for row in job.rows)
    return tokens if tokens <= max_tokens else sum(map(_tokens, _at_once(job, max_tokens)))


def _at_once(job: JobRows, max_tokens: int, processes: int = 1) -> Iterator[list[Group]]:
    """Yield the micro-batches of a job's rows, as many at a time as processes compute at once."""
    for portion in portions(numbered([job])):
        for cut in cut_together(portion):
            groups = groups_of(cut, max_tokens, processes)
            yield from (groups[start : start + processes] for start in range(0, len(groups), processes))


def _tokens(groups: Sequence[Group]) -> int:
    return sum(map(group_tokens, groups))
