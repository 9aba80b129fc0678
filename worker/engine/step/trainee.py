"""A trainee: an adapter with its optimizer, its schedule and its progress through its data."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import JobError
from core.jobs.spec import JobSpec
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.storage.file_names import DamagedFile
from worker.engine.adapters.adapter import Adapter
from worker.engine.adapters.published import Published
from worker.engine.batch.dropout import step_seed
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.spread_work import micro_batches_at_once, tokens_of
from worker.engine.objectives.choose import objective_of
from worker.engine.objectives.objective import ObjectiveLoss
from worker.engine.parameters.flat import named_tensors
from worker.engine.step.context import PassContext
from worker.engine.step.moments import MOMENTS
from worker.engine.step.objective_pass import ComputedRows, ObjectiveRows
from worker.engine.step.optimizer import Optimizer
from worker.engine.step.processes import Processes
from worker.engine.step.references import References
from worker.engine.step.steps import SpreadStep
from worker.engine.step.totals import Evaluation
from worker.rows.row import Row

PREFIX = "parameters."  # begins the parameters' names in a state


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


def order_of(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    """Return the permutation in which a job's epoch visits its examples."""
    return np.random.default_rng([seed, epoch]).permutation(examples)


def parameters_in(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters in a trainee's state by their names in the adapter, without PREFIX."""
    return {name.removeprefix(PREFIX): part for name, part in state.items() if name.startswith(PREFIX)}


def _tokens_of(rows: Sequence[Row]) -> int:
    return sum(len(row.tokens_L) for row in rows)


def _has_moments(state: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(f"{moment}.") for name in state for moment in MOMENTS)


class NonFiniteLoss(JobError):
    """A step's loss or gradient is not finite. A neighbour in the same round may have caused it."""


class Trainee:
    """One adapter in training. Nothing in it depends on the other jobs that share its rounds.

    Epoch e visits the examples in the order of a permutation seeded with (seed, e), so that `step` alone
    gives the trainee's progress through its data. An example is one row, or as many rows as the job's
    objective compares.
    """

    def __init__(
        self, adapter: Adapter, spec: JobSpec, rows: Sequence[Row], sibling: "Trainee | None" = None
    ) -> None:
        """`sibling` is another candidate of the job: both compare with the same base on the same rows."""
        self.adapter = adapter
        self.rows = rows
        self.step = 0
        self._spec = spec
        self._order: tuple[int, NDArray[np.int64]] | None = None
        self.objective = objective_of(spec)
        self.rows_per_example = self.objective.rows if self.objective else 1
        self._examples = len(rows) // self.rows_per_example
        self._batch_size = min(spec.hyperparameters.batch_size, self._examples)
        self.steps_per_epoch = steps_per_epoch(spec, rows)
        self.total_steps = total_steps(spec, rows)
        self.last_step = self.total_steps
        self._optimizer = Optimizer(adapter.parameters, spec, self.total_steps)
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
        return self._batch_size

    @property
    def first_order(self) -> NDArray[np.int64]:
        """The order in which the first epoch visits the examples."""
        return self._order_of(0)

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
        """The batch of the next step."""
        return self.rows_after(self.step)

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

    def begin_step(self, step: int | None = None) -> ComputedRows:
        """Return the rows of the next step, or of the step that follows the first `step` steps.

        Draw the adapter's rank, if it is dynamic, and refresh its factors.
        """
        step = self.step if step is None else step
        if self.adapter.dynamic_rank is not None:
            self.adapter.dynamic_rank.draw(step)
        self.adapter.parameters.refresh()
        seed = self.dropout_seed_after(step)
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
        metrics = self._end_step()
        return StepResult(self.step, loss, accuracy, _tokens_of(rows), learning_rate, norm, metrics, ranks)

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a resume needs: the parameters, the method's own, and AdamW's moments.

        The moments are left out after the last step. The tensors are not copies: the next step changes them.
        """
        return self._state(self._optimizer.state() if not self.finished else {})

    def restore(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Continue after `step`. A state without moments means that it was the last step.

        Raises DamagedFile if the state's tensors are not those of this job.
        """
        self.take_state(state)
        self._optimizer.resume_after(step)
        self.step = step
        if not _has_moments(state):
            self.stop()

    def take_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy the state's tensors, including moments if it has some, into the trainee, but keep the step.

        Raises DamagedFile as `restore` does.
        """
        parts = self._state(self._optimizer.state() if _has_moments(state) else {})
        others = parts.keys() ^ state.keys()
        others |= {name for name in parts.keys() & state.keys() if parts[name].shape != state[name].shape}
        if others:
            raise DamagedFile(f"its tensors are not this job's: {', '.join(sorted(others)[:3])}")
        with torch.no_grad():
            for name, part in parts.items():
                part.copy_(state[name])

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

    def _state(self, of_optimizer: Mapping[str, Tensor]) -> dict[str, Tensor]:
        parameters = self.adapter.parameters
        values = named_tensors({"parameters": parameters.master.detach()}, parameters.extents)
        return {**values, **of_optimizer, **parameters.kept}

    def forget_gradient(self) -> None:
        """Drop the gradient that an abandoned or failed round has gathered, with that of earlier rounds."""
        self.adapter.parameters.forget_gradient()
        self._end_step()

    def _end_step(self) -> dict[str, float]:
        """Clear the gradient and the step's dynamic rank. Return the rank as a metric, if there was one."""
        self.spread = None
        self.adapter.parameters.gradient.zero_()
        dynamic = self.adapter.dynamic_rank
        if dynamic is None:
            return {}
        drawn = dynamic.rank
        dynamic.use_all_ranks()
        return {"adapter_rank": drawn}

    def rows_after(self, step: int) -> list[Row]:
        """Return the batch of the step that follows the first `step` steps."""
        return [self.rows[number] for number in self.numbers_after(step)]

    def numbers_after(self, step: int) -> list[int]:
        """Return the numbers, among `rows`, of the batch of the step that follows the first `step` steps."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        chosen = self._order_of(epoch)[
            step_in_epoch * self._batch_size : (step_in_epoch + 1) * self._batch_size
        ]
        of_example = range(self.rows_per_example)
        return [int(example) * self.rows_per_example + part for example in chosen for part in of_example]

    def _new_references(self) -> References:
        if self.objective is None or not self.objective.needs_reference:
            return References()
        size = self.rows_per_example
        order = self._order_of(0)[:, None] * size + np.arange(size)
        return References(order.ravel(), self._batch_size * size)

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        """Return the epoch's permutation; the last one that was asked for is kept."""
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, order_of(self._spec.seed, epoch, self._examples)
        return self._order[1]
