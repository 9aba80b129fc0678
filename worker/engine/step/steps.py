"""Steps in training passes: their rows, what is known of the rows, and their sums so far.

Usually a pass computes a step as a whole. A step that is much larger than its neighbours' is spread over the
passes of several rounds, so that the neighbours need not wait for all of it.
"""

from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from worker.engine.batch.grouping import Group, JobRows, numbered
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.batch.spread_work import AtOnce, SavedTokens, micro_batches_at_once
from worker.engine.kernels.loss import TokenLosses
from worker.engine.step.context import PassContext
from worker.engine.step.objective_pass import ComputedRows, ObjectiveRows
from worker.engine.step.policy_step import PolicyStep, RolloutRows
from worker.engine.step.processes import Processes
from worker.engine.step.step_objectives import PreparedStep, SpreadPreparation, WeightsInPass, prepare
from worker.engine.step.totals import Evaluation, RowTotals, Totals

StepRows = ComputedRows | RolloutRows
"""The rows of a training step"""


class Steps:
    """The steps of some jobs, one of each, whose rows are numbered through the jobs.

    It adds up the sums of what has been computed: by adapter, and by row for objectives beyond cross-entropy.
    A policy loss keeps its tokens' log-probabilities instead.
    """

    def __init__(
        self,
        jobs: Sequence[JobRows],
        prepared: Mapping[str, PreparedStep],
        rollouts: Sequence[RolloutRows],
        device: torch.device,
    ) -> None:
        """`prepared` has, by adapter, what is known of a step whose objective compares rows.

        `rollouts` are the jobs of policy losses once more.
        """
        self.jobs, self._prepared = jobs, prepared
        self._weights = WeightsInPass(jobs, [prepared.get(job.adapter) for job in jobs])
        first = {job.adapter: job.first for job in numbered(jobs)}
        self._policies = {each.adapter: PolicyStep(each, first[each.adapter], device) for each in rollouts}
        self._needs_row_sums = self._weights.are_open or any(
            policy.needs_row_sums for policy in self._policies.values()
        )
        self._totals = Totals([job.adapter for job in jobs], device)
        self._row_totals = RowTotals(sum(len(job.rows) for job in jobs), device)

    @classmethod
    def whole(cls, context: PassContext, rows: Sequence[StepRows]) -> "Steps":
        """Return the steps that a pass computes as a whole, once the rows of objectives are prepared.

        Raises Abandoned as `run_pass` does.
        """
        compared = [each for each in rows if isinstance(each, ObjectiveRows)]
        prepared = prepare(context, compared) if compared else []
        by_adapter = {step.rows.adapter.name: step for step in prepared}
        jobs = [_as_job(each, by_adapter) for each in rows]
        rollouts = [each for each in rows if isinstance(each, RolloutRows)]
        return cls(jobs, by_adapter, rollouts, context.base.device)

    def factors(self, batch: MicroBatch, losses: TokenLosses) -> Tensor:
        """Return the factor of each supervised token's gradient in a lane's part of a micro-batch, [S].

        It is 1 for tokens whose weights are in the micro-batch. All lanes of the micro-batch must call this.
        """
        sums_3X = self._sums_in(batch, losses) if self._needs_row_sums else None
        factors_S = torch.ones_like(batch.weights_S)
        if self._weights.are_open and sums_3X is not None:
            factors_S = self._weights.of(batch, sums_3X)
        for policy in self._of_policies(batch):
            policy.put_factors(factors_S, batch, losses, sums_3X)
        return factors_S

    def _sums_in(self, batch: MicroBatch, losses: TokenLosses) -> Tensor:
        """Return `RowTotals.sums_3X` of a micro-batch: those of a lane's part, added up over the lanes."""
        mine_3X = RowTotals.part(self._row_totals.sums_3X.shape[1], batch, losses)
        sums_3X = sum(batch.lane.share(mine_3X)) if batch.lane else mine_3X
        assert isinstance(sums_3X, Tensor)
        return sums_3X

    def _of_policies(self, batch: MicroBatch) -> list[PolicyStep]:
        return [self._policies[name] for name in batch.adapter_tokens if name in self._policies]

    def add(self, batch: MicroBatch, losses: TokenLosses) -> None:
        self._totals.add(batch, losses)
        self._row_totals.add(batch, losses)
        for policy in self._of_policies(batch):
            policy.add(batch, losses)

    def evaluations(self, processes: Processes) -> dict[str, Evaluation]:
        """Return the evaluation of each adapter, after adding up the sums over the processes."""
        if not self.jobs:
            return {}
        processes.sum(self._totals.sums_A3)
        found = self._totals.evaluations()
        if self._prepared:
            sums_3X = processes.sum(self._row_totals.sums_3X).cpu()
            by_job = sums_3X.split([len(job.rows) for job in self.jobs], dim=1)
            sums = {job.adapter: job_3X for job, job_3X in zip(self.jobs, by_job, strict=True)}
            found |= {name: step.evaluation(sums[name]) for name, step in self._prepared.items()}
        return found | {name: policy.evaluation(processes) for name, policy in self._policies.items()}


def _as_job(rows: StepRows, prepared: Mapping[str, PreparedStep]) -> JobRows:
    """Return the rows in the training pass."""
    if isinstance(rows, JobRows):
        return rows
    return rows.as_job if isinstance(rows, RolloutRows) else prepared[rows.adapter.name].as_job


class SpreadStep:
    """The step of one job, of which each round computes some micro-batches.

    First come those of the passes without gradient that an objective needs. The rows are cut into
    micro-batches as they are for a job that is cut apart, whatever the rounds compute beside them. Meanwhile
    the gradient stays where it adds up, so the step takes no further memory on the device.
    """

    def __init__(self, context: PassContext, rows: StepRows, tokens: int) -> None:
        """`tokens` are the tokens of the whole step."""
        self.max_tokens, self.tokens = context.max_tokens, tokens
        self._saved = SavedTokens()
        self._preparation = SpreadPreparation(context, rows) if isinstance(rows, ObjectiveRows) else None
        self._steps: Steps | None = None
        self._left = deque[AtOnce]()
        if not isinstance(rows, ObjectiveRows):
            self._begin(context, Steps.whole(context, [rows]))

    @property
    def steps(self) -> Steps:
        """The step in the training pass, once that has begun."""
        assert self._steps is not None
        return self._steps

    @property
    def complete(self) -> bool:
        """Whether no micro-batch is left to take."""
        return self._steps is not None and not self._left

    def take(self, context: PassContext, tokens: float) -> list[Group]:
        """Return the next micro-batches of the training pass that `tokens` suffice for, with those saved.

        As long as passes without gradient come first, compute their micro-batches. Raises Abandoned as
        `run_pass` does.
        """
        self._saved.add(tokens)
        if self._preparation is not None:
            step = self._preparation.advance(context, self._saved)
            if step is None:
                return []
            self._preparation = None
            self._begin(context, Steps([step.as_job], {step.as_job.adapter: step}, [], context.base.device))
        return self._saved.take(self._left)

    def _begin(self, context: PassContext, steps: Steps) -> None:
        (job,) = steps.jobs
        self._steps = steps
        self._left.extend(micro_batches_at_once(job, context.max_tokens, context.processes.size))
