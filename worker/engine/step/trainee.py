"""A trainee: an adapter with its optimizer, its schedule and its progress through its data."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from math import nan
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import JobError
from core.jobs.spec import JobSpec
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from worker.engine.adapters.adapter import Adapter
from worker.engine.adapters.published import Published
from worker.engine.batch.dropout import step_seed
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.spread_work import micro_batches_at_once, tokens_of
from worker.engine.objectives.choose import objective_of
from worker.engine.objectives.objective import ObjectiveLoss
from worker.engine.step.context import PassContext
from worker.engine.step.data_order import DataOrder
from worker.engine.step.objective_pass import ComputedRows, ObjectiveRows
from worker.engine.step.optimizer import Optimizer
from worker.engine.step.processes import Processes
from worker.engine.step.references import References
from worker.engine.step.rollouts import StepRollouts
from worker.engine.step.states import copy_into, has_moments, state_of
from worker.engine.step.steps import SpreadStep, StepRows
from worker.engine.step.totals import Evaluation
from worker.rows.rollout import Rollout
from worker.rows.row import Row
from worker.rows.row_store import lengths_of


@dataclass(frozen=True)
class StepResult:
    """The result of one optimizer step of one trainee.

    Loss and accuracy are means over supervised tokens, as in `Evaluation`. `tokens` counts all tokens of the
    step's rows. `gradient_norm` is the norm before clipping.
    """

    step: int
    loss: float
    accuracy: float
    tokens: int
    learning_rate: float
    gradient_norm: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    rank_budget: int | None = None
    """The number of ranks that AdaLoRA leaves to all modules together; None for other methods."""


def steps_per_epoch(spec: JobSpec, rows: Sequence[Row]) -> int:
    objective = objective_of(spec)
    examples = len(rows) // (objective.rows if objective else 1)
    return spec.hyperparameters.steps_per_epoch(examples)


def total_steps(spec: JobSpec, rows: Sequence[Row]) -> int:
    return steps_per_epoch(spec, rows) * spec.hyperparameters.n_epochs


def _tokens_of(rows: Sequence[Row]) -> int:
    return sum(len(row.tokens_L) for row in rows)


class NonFiniteLoss(JobError):
    """A step's loss or gradient is not finite. A neighbour in the same round may have caused it."""


class Trainee:
    """One adapter in training. Nothing in it depends on the other jobs that share its rounds.

    `step` alone gives the trainee's progress through its data (`DataOrder`). An example is one row, or as
    many rows as the job's objective compares.

    The rows of a job that samples its answers are prompts. Before each step, whoever trains it gives it
    rollouts of `next_prompts` (`take_rollouts`). The job is never validated here, because its validations
    sample answers too.
    """

    order_type: ClassVar[type[DataOrder]] = DataOrder

    def __init__(
        self, adapter: Adapter, spec: JobSpec, rows: Sequence[Row], sibling: "Trainee | None" = None
    ) -> None:
        """`sibling` is another candidate of the job: both compare with the same base on the same rows."""
        self.adapter = adapter
        self.rows = rows
        self.step = 0
        self._spec = spec
        self.objective = objective_of(spec)
        self._rollouts = StepRollouts.of(spec)
        self.rows_per_example = self.objective.rows if self.objective else 1
        self._order = self.order_type(spec, len(rows) // self.rows_per_example, self.rows_per_example)
        self.steps_per_epoch = steps_per_epoch(spec, rows)
        self.total_steps = total_steps(spec, rows)
        self.last_step = self.total_steps
        self._optimizer = Optimizer(
            adapter.parameters, spec, self.total_steps, counts_updates=self._rollouts is not None
        )
        self.references: References = sibling.references if sibling else self._new_references()
        self.validation_references: References = sibling.validation_references if sibling else References()
        self.parent_values: Tensor | None = None
        """The parameters of the adapter that is the reference, in one flat tensor; None for the base model"""
        self.spread: SpreadStep | None = None
        """The next step, if rounds have begun to compute it share by share"""

    @property
    def name(self) -> str:
        """The name of the adapter."""
        return self.adapter.name

    @property
    def batch_size(self) -> int:
        """The examples of a step; the last step of an epoch may have fewer."""
        return self._order.batch_size

    @property
    def first_order(self) -> NDArray[np.int64]:
        """The order in which the first epoch visits the examples."""
        return self._order.of(0)

    @contextmanager
    def rehearsing(self) -> Iterator[None]:
        """Forget afterwards all that was computed inside. Step and state are the job's own inside, too."""
        kept = self.references, self.validation_references
        self.references, self.validation_references = self._new_references(), References()
        try:
            yield
        finally:
            self.forget_gradient()
            self.references, self.validation_references = kept

    @property
    def finished(self) -> bool:
        return self.step >= self.last_step

    @property
    def at_epoch_end(self) -> bool:
        return self.step > 0 and self.step % self.steps_per_epoch == 0

    @property
    def epoch(self) -> float:
        """The number of epochs done, with fractions."""
        return self.step / self.steps_per_epoch

    @property
    def next_rows(self) -> list[Row]:
        """The batch of the next step; if the job samples its answers, the rollouts from which it learns."""
        return [*self._rollouts.learnt] if self._rollouts else self.rows_after(self.step)

    @property
    def needs_rollouts(self) -> bool:
        """Whether the next step cannot be made before `take_rollouts` is called."""
        return self._rollouts is not None and self._rollouts.taken is None and not self.finished

    @property
    def next_prompts(self) -> list[Row]:
        """The prompts of the next step of a job that samples its answers."""
        return self._given_after(self.step)

    def take_rollouts(self, rollouts: Sequence[Rollout]) -> None:
        """Take the rollouts of the next step: all of them, because the loss is a mean over all.

        They are kept until the step is made, also if its round is abandoned or fails. A state does not hold
        them: a job that resumes needs new ones.
        """
        assert self._rollouts is not None, "the job learns from rows"
        self._rollouts.taken = rollouts

    @property
    def learns_nothing(self) -> bool:
        """Whether the next step makes no update, because no rollout has a gradient."""
        return self._rollouts is not None and not self._rollouts.learnt

    def dropout_seed_after(self, step: int) -> int | None:
        """Return the seed of the dropout masks of the step that follows the first `step` steps.

        Return None if the job has no dropout.
        """
        adapter = self._spec.adapter
        drops = isinstance(adapter, LoraAdapter | AdaLoraAdapter) and adapter.lora_dropout > 0
        return step_seed(self._spec.seed, step) if drops else None

    def stop(self) -> None:
        """Make no more steps, although the schedule has not ended."""
        self.last_step = self.step

    def begin_step(self, rehearsed: int | None = None) -> StepRows:
        """Return the rows of the next step, or of the step that follows the first `rehearsed` steps.

        The latter are as in `rows_after`. Draw the adapter's rank, if it is dynamic, and refresh its factors.
        """
        step = self.step if rehearsed is None else rehearsed
        if self.adapter.dynamic_rank is not None:
            self.adapter.dynamic_rank.draw(step)
        self.adapter.parameters.refresh()
        seed = self.dropout_seed_after(step)
        if self._rollouts is not None:
            made_up = rehearsed is not None
            rollouts = self._rollouts.made_up(self._given_after(step)) if made_up else self._rollouts
            return rollouts.rows(self.name, seed, self._spec.training.deterministic)
        if self.objective is None:
            rows = self.rows_after(step)
            return self._own_loss(rows, 1 / sum(row.weight for row in rows), seed)
        return self._compared(self.objective, self.rows, self.numbers_after(step), self.references, seed)

    def begin_validation(self, rows: Sequence[Row]) -> ComputedRows:
        """Return the rows as they are evaluated, and refresh the adapter's factors."""
        self.adapter.parameters.refresh()
        if self.objective is None:
            return self._own_loss(rows, 1.0)
        return self._compared(self.objective, rows, range(len(rows)), self.validation_references)

    def _own_loss(self, rows: Sequence[Row], weight: float, seed: int | None = None) -> JobRows:
        """Return rows whose loss is a cross-entropy, with the `weight` of each supervised token."""
        apart = self._spec.training.deterministic
        return JobRows(self.name, rows, weight, dropout_seed=seed, apart=apart)

    def _compared(
        self,
        objective: ObjectiveLoss,
        rows: Sequence[Row],
        numbers: Sequence[int],
        references: References,
        seed: int | None = None,
    ) -> ObjectiveRows:
        apart = self._spec.training.deterministic
        return ObjectiveRows(
            self.adapter, objective, rows, numbers, references, seed, self.parent_values, apart
        )

    def begin_spread_step(self, context: PassContext) -> SpreadStep:
        """Return the next step as one that rounds compute share by share. Begin it if it has not begun."""
        if self.spread is None:
            self.spread = SpreadStep(context, self.begin_step(), self.step_tokens(context.max_tokens))
        return self.spread

    def step_tokens(self, max_tokens: int) -> int:
        """Return how many tokens the next step computes, if its rows are cut by themselves.

        A step that fits into one micro-batch is not looked into: a beginning that its rows share counts for
        each of them.
        """
        job = self.as_job(self.next_rows)
        tokens = _tokens_of(job.rows)
        return tokens if tokens <= max_tokens else sum(map(tokens_of, micro_batches_at_once(job, max_tokens)))

    def as_job(self, rows: Sequence[Row]) -> JobRows:
        """Return the rows so that the rows of each example come into one micro-batch."""
        return JobRows(self.name, rows, 1.0, rows_per_example=self.rows_per_example)

    @contextmanager
    def at_rank(self, rank: int | None) -> Iterator[None]:
        """Compute with only the first `rank` ranks inside the block, or with all ranks if `rank` is None."""
        dynamic = self.adapter.dynamic_rank
        with nullcontext() if rank is None or dynamic is None else dynamic.truncated(rank):
            yield

    def complete_gradient(self) -> Tensor:
        """Add to the gathered gradient what does not come from the rows. Return its norm, on the device."""
        if self.adapter.rank_budget is not None:
            self.adapter.rank_budget.add_orthogonality_gradient(self.adapter.parameters)
        return self.adapter.parameters.gradient.norm()

    def finish_step(self, mean: Evaluation, norm: float, processes: Processes) -> StepResult | Exception:
        """Take the next step after its pass. Return its result, or an error that concerns only this trainee.

        `mean` are the means over the step's rows, and `norm` is the norm of the complete gradient.
        """
        try:
            result = self.take_step(self.next_rows, mean.loss, mean.accuracy, norm)
            return replace(result, metrics={**result.metrics, **mean.metrics}) if mean.metrics else result
        except JobError as error:
            return error
        except Exception as error:
            if processes.size > 1:  # the other processes may have made the step
                raise
            return error

    def skip_step(self) -> StepResult:
        """Advance by one step of the schedule without an update, because no rollout has a gradient.

        Ranks of a budget that fall with the step fall all the same.
        """
        rate = self._optimizer.rate_after(self.step)
        self.step += 1
        budget = self.adapter.rank_budget
        ranks = None
        if budget is not None:
            ranks = budget.allocate(self.adapter.parameters, self.step, updated=False)
        return StepResult(self.step, 0.0, nan, 0, rate, 0.0, self._end_step(made=True), ranks)

    def take_step(self, rows: Sequence[Row], loss: float, accuracy: float, norm: float) -> StepResult:
        """Clip the complete gradient of this `norm`, update the parameters, and advance by one step.

        Raises NonFiniteLoss before the update if the loss or the gradient is not finite. Then the same step
        can be made again.
        """
        parameters, budget = self.adapter.parameters, self.adapter.rank_budget
        gradient = parameters.gradient
        if not np.isfinite(loss) or not np.isfinite(norm):
            self.forget_gradient()
            lines = ", ".join(dict.fromkeys(str(row.line) for row in rows))
            raise NonFiniteLoss(
                "non_finite_loss",
                f"Step {self.step + 1}: loss {loss}, gradient norm {norm}, on the rows of lines {lines}. "
                "A lower learning rate or max_grad_norm often helps; otherwise look at these rows.",
            )
        limit = self._spec.training.max_grad_norm
        if norm > limit:
            gradient.mul_(limit / norm)
        learning_rate = self._optimizer.step(self.step)
        self.step += 1
        ranks = None if budget is None else budget.allocate(parameters, self.step)
        metrics = self._end_step(made=True)
        return StepResult(self.step, loss, accuracy, _tokens_of(rows), learning_rate, norm, metrics, ranks)

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a resume needs: the parameters, the method's own, and AdamW's moments.

        The moments are left out after the last step. The tensors are not copies: the next step changes them.
        """
        return state_of(self.adapter.parameters, {} if self.finished else self._optimizer.state())

    def restore(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Continue after `step`. A state without moments means that it was the last step.

        Raises DamagedFile if the state's tensors are not those of this job.
        """
        self.take_state(state)
        self._optimizer.resume_after(step)
        self.step = step
        if not has_moments(state):
            self.stop()

    def take_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy the state's tensors, including moments if it has some, into the trainee, but keep the step.

        Raises DamagedFile as `restore` does.
        """
        of_optimizer = self._optimizer.state() if has_moments(state) else {}
        copy_into(state_of(self.adapter.parameters, of_optimizer), state)

    @property
    def needs_parent(self) -> bool:
        """Whether a job that continues from a parent needs the parent's parameters now, or any more."""
        return self.step == 0 or (self.objective is not None and self.objective.needs_reference)

    @torch.no_grad()
    def take_parent(self, published: Published) -> None:
        """Begin with the values of another adapter, the parent, and with a fresh optimizer.

        The parent, and not the base model, is then the reference of an objective that needs one. A trainee
        that has made steps keeps its own parameters. Raises JobError if the parent is not an adapter of the
        same method, ranks and targets.
        """
        parameters = self.adapter.parameters
        own = parameters.master.clone() if self.step else None
        self.adapter.load(published)
        if self.objective is not None and self.objective.needs_reference:
            self.parent_values = parameters.master.clone()
            self.references, self.validation_references = self._new_references(), References()
        if own is not None:
            parameters.master.copy_(own)
            parameters.refresh()

    def forget_gradient(self) -> None:
        """Drop the gradient that an abandoned or failed round has gathered, with that of earlier rounds."""
        self.adapter.parameters.forget_gradient()
        self._end_step()

    def _end_step(self, made: bool = False) -> dict[str, float]:
        """Clear the gradient and the step's dynamic rank, and the rollouts if the step is made.

        Return the rank as a metric, if there was one.
        """
        self.spread = None
        if made and self._rollouts is not None:
            self._rollouts.taken = None
        self.adapter.parameters.gradient.zero_()
        dynamic = self.adapter.dynamic_rank
        if dynamic is None:
            return {}
        drawn = dynamic.rank
        dynamic.use_all_ranks()
        return {"adapter_rank": drawn}

    def rows_after(self, step: int) -> list[Row]:
        """Return the batch of the step that follows the first `step` steps.

        Nobody knows rollouts before they are sampled: it returns the longest that there
        may be.
        """
        given = self._given_after(step)
        return [*self._rollouts.made_up(given).learnt] if self._rollouts else given

    def numbers_after(self, step: int) -> list[int]:
        """Return the numbers, among `rows`, of the batch of the step that follows the first `step` steps."""
        return self._order.numbers_after(step)

    @property
    def example_lengths(self) -> NDArray[np.int64]:
        """The tokens of each row of each example, [examples, rows]; the most that rollouts may have."""
        size = self.rows_per_example
        lengths_ES = lengths_of(self.rows)[: size * (len(self.rows) // size)].reshape(-1, size)
        return self._rollouts.longest(lengths_ES) if self._rollouts else lengths_ES

    def _given_after(self, step: int) -> list[Row]:
        return [self.rows[number] for number in self.numbers_after(step)]

    def _new_references(self) -> References:
        if self.objective is None or not self.objective.needs_reference:
            return References()
        numbers = self._order.row_numbers(self._order.of(0))
        return References(numbers, self.batch_size * self.rows_per_example)
