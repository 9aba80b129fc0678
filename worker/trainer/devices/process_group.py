"""The processes of one trainer: the first process takes jobs and decides, and all follow its orders."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import JobError
from core.estimates.memory import step_memory
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.shapes import Load
from core.estimates.workspace import evaluation_bytes
from core.jobs.spec import JobSpec
from worker.base_models.telling import Tell, untold
from worker.device.model_holder import ModelHolder
from worker.device.watchdog import Watchdog
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.attach import attach
from worker.engine.adapters.published import Published
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.loading import declared_dtype
from worker.engine.device.free_memory import collect_garbage, forget_computation, held_bytes
from worker.engine.sampler.answers import Answer, generate_answers
from worker.engine.sampler.rollouts import Sampled, Turn, generate_rollouts
from worker.engine.start.initial_values import initial_values
from worker.engine.step import loop
from worker.engine.step.context import PassContext, never_abandon
from worker.engine.step.passes import Abandoned
from worker.engine.step.processes import Processes, SharedFault
from worker.engine.step.rehearsal import Rehearsed, longest_step, rehearse_evaluation, rehearse_step
from worker.engine.step.totals import Evaluation, Score
from worker.engine.step.trainee import StepResult, Trainee, total_steps
from worker.rows.rollout import Rollout
from worker.rows.row import Row
from worker.rows.row_store import RowStore
from worker.trainer.devices.cohort_plan import CohortPlan
from worker.trainer.devices.orders import OrderedProcesses, order
from worker.trainer.devices.planned import Planned


class ExpectedBytes(NamedTuple):
    """What rows take at most beside all that is held, in a training step and in an evaluation."""

    step: int
    evaluation: int


class ProcessGroup(OrderedProcesses):
    """The group, with what this process has: its base model, its trainees, and how they fit its device.

    Orders name trainees, because each process has its own. Every order may raise GroupLost, and Abandoned if
    a trainee has left: nobody waits for a result of its rows.
    """

    def __init__(
        self,
        holder: ModelHolder,
        processes: Processes,
        max_step_tokens: int | None,
        watchdog: Watchdog,
        recompute: Recompute | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(processes)
        self.holder, self._watchdog = holder, watchdog
        self.plan = CohortPlan(tuple(Recompute) if recompute == "auto" else (recompute,), max_step_tokens)
        self.trainees: dict[str, Trainee] = {}
        self.memory_bytes = 0  # the bytes that this process held on its device after the last round

    @property
    def memory_plan(self) -> MemoryPlan:
        """The memory plan of the trainees together; there must be one."""
        return self.plan.memory_plan

    def load(self, spec: JobSpec, tell: Tell = untold) -> ResidentBase:
        """Make the base model of `spec` resident in all processes, and return it. Raises JobError.

        `tell` hears now and then how many bytes this process has read, and of how many.
        """
        if not self.holder.holds(spec):
            self._load(spec, tell=tell)
        return self.holder.base

    @order
    def _load(self, spec: JobSpec, *, tell: Tell = untold) -> None:
        try:
            with self.processes.together():
                found = self.holder.find(spec.base_model, spec.sharded, spec.training.quantization)
            own = found.source_sha256, declared_dtype(found.entry, self.holder.device)
            first = self.processes.broadcast(own)
            with self.processes.together():
                _refuse_difference(spec.base_model, own, first)
                self.holder.load(found, tell)
        except SharedFault:
            self.holder.clear()  # a process failed; this one may have loaded the model
            raise

    def join(
        self,
        name: str,
        spec: JobSpec,
        rows: RowStore,
        known: InitialValues,
        abandon: Callable[[], bool] = never_abandon,
        sibling: str | None = None,
    ) -> Trainee:
        """Attach a new adapter to the base model in all processes, and return its trainee.

        `known` are the first values of its parameters, if they are not to be computed. Only this process
        computes the others. `sibling` is the name of another candidate of the job. Raises JobError, and
        Abandoned if `abandon` returns True meanwhile.
        """
        load = self._load_of(spec, rows)
        memory_plan = self.plan.plan_with(self.holder.base.budget, load)  # the others must cut alike
        with self._watchdog.over(abandon) as ask:
            first = initial_values(self.holder.base, spec, rows, known, ask)
        self._attach(name, spec, rows, first, sibling, load, memory_plan)
        return self.trainees[name]

    @order
    def _attach(
        self,
        name: str,
        spec: JobSpec,
        rows: RowStore,
        first: InitialValues,
        sibling: str | None,
        load: Load | None,
        memory_plan: MemoryPlan,
    ) -> None:
        with self.processes.together():
            longest = longest_row(spec, rows)
            step_tokens = max(memory_plan.step_tokens, longest)
            steps = total_steps(spec, rows)
            adapter = attach(self.holder.base, name, spec, steps, step_tokens, longest, first)
            self.trainees[name] = Trainee(adapter, spec, rows, self.trainees[sibling] if sibling else None)
        self.plan.add(name, load, memory_plan)

    @order
    def take_parent(self, name: str, parent: Published) -> None:
        """Let the trainee begin with a parent's values, as `Trainee.take_parent` does. Raises JobError."""
        with self.processes.together():
            self.trainees[name].take_parent(parent)

    def share_state(self, trainee: Trainee) -> None:
        """Give all processes the step and the state of `trainee` in the first process."""
        if self.size == 1:
            return
        # Copies, since a view would be sent with the whole tensor behind it
        state = {name: tensor.to("cpu", copy=True) for name, tensor in trainee.state().items()}
        self._restore(trainee.name, trainee.step, state)

    @order
    def _restore(self, name: str, step: int, state: dict[str, Tensor]) -> None:
        with self.processes.together():
            self.trainees[name].restore(step, state)

    @order
    def train_round(
        self, names: Sequence[str], *, abandon: Callable[[], bool] = never_abandon
    ) -> Mapping[str, StepResult | Exception]:
        """Make a round with these trainees, as `loop.train_round` does."""
        trainees = [self._trainee(name) for name in names]
        with self.pass_context(abandon) as context:
            results = loop.train_round(context, trainees)
        self.memory_bytes = held_bytes(self.holder.base.device)
        return results

    @order
    def evaluate(
        self,
        name: str,
        rows: Sequence[Row],
        rank: int | None = None,
        *,
        abandon: Callable[[], bool] = never_abandon,
    ) -> Evaluation:
        """Evaluate the trainee on the rows with its first `rank` ranks, or with all ranks."""
        trainee = self._trainee(name)
        with self.pass_context(abandon) as context, trainee.at_rank(rank):
            return loop.validate(context, trainee, rows)

    @order
    def evaluate_together(
        self,
        asked: Sequence[tuple[str, Sequence[Row], Sequence[int]]],
        *,
        abandon: Callable[[], bool] = never_abandon,
    ) -> list[list[Evaluation]]:
        """Evaluate trainees in one pass: each name comes with the rows and counts of a `Validation`."""
        validations = [loop.Validation(self._trainee(name), rows, counts) for name, rows, counts in asked]
        with self.pass_context(abandon) as context:
            return loop.validate_together(context, validations)

    @order
    def measure(
        self, name: str, rows: Sequence[Row], *, abandon: Callable[[], bool] = never_abandon
    ) -> Score:
        """Return the trainee's loss on the rows, as `loop.measure` does."""
        trainee = self._trainee(name)
        with self.pass_context(abandon) as context:
            return loop.measure(context, trainee, rows)

    @order
    def row_losses(
        self, name: str, rows: Sequence[Row], *, abandon: Callable[[], bool] = never_abandon
    ) -> NDArray[np.float64]:
        """Return the loss of each row, as `loop.row_losses` does."""
        trainee = self._trainee(name)
        with self.pass_context(abandon) as context:
            return loop.row_losses(context, trainee, rows)

    @order
    def rehearse_step(
        self, names: Sequence[str], *, abandon: Callable[[], bool] = never_abandon
    ) -> Rehearsed:
        """Rehearse the longest step of the first trainee with all of them. Return what this process took."""
        trainees = [self._trainee(name) for name in names]
        with self.pass_context(abandon) as context:
            step = longest_step(trainees[0], context.max_tokens)
            return rehearse_step(context, trainees, step)

    @order
    def rehearse_evaluation(
        self, name: str, rows: Sequence[Row], *, abandon: Callable[[], bool] = never_abandon
    ) -> Rehearsed:
        """Rehearse an evaluation on the rows. Return what this process took."""
        trainee = self._trainee(name)
        with self.pass_context(abandon) as context:
            return rehearse_evaluation(context, trainee, rows)

    @order
    def leave(self, name: str) -> None:
        """Let go of the trainee of that name, if there is one."""
        self.trainees.pop(name, None)
        self.plan.remove(name)

    def free_memory_of(self, error: Exception) -> None:
        """Free what was computed until the error came, so that the next step finds all memory."""
        forget_computation(error)
        self.free_memory()

    @order
    def free_memory(self) -> None:
        """Free what nobody holds any more, and the memory that is kept for later.

        Without this, a step after a fault might find no memory beside what the fault's step has left.
        """
        collect_garbage(self.holder.device)

    def answer(
        self, trainee: Trainee, rows: Sequence[Row], max_new_tokens: int, abandon: Callable[[], bool]
    ) -> list[Answer]:
        """Return the model's answers to `rows`.

        Only this process generates them, since all processes have the same adapter. The others wait for an
        order.
        """
        with self._watchdog.over(abandon) as ask:
            return generate_answers(
                self.holder.base, trainee.adapter, rows, max_new_tokens, self.memory_plan.step_tokens, ask
            )

    def sample(self, trainee: Trainee, turns: Sequence[Turn], abandon: Callable[[], bool]) -> list[Sampled]:
        """Return sampled turns of answers, with their log-probabilities, as `answer` does the likeliest."""
        with self._watchdog.over(abandon) as ask:
            return generate_rollouts(
                self.holder.base, trainee.adapter, turns, self.memory_plan.step_tokens, ask
            )

    @order
    def take_rollouts(self, name: str, rollouts: Sequence[Rollout]) -> None:
        """Give the trainee the rollouts of its next step."""
        with self.processes.together():
            self._trainee(name).take_rollouts(rollouts)

    def _trainee(self, name: str) -> Trainee:
        if name not in self.trainees:
            raise Abandoned
        return self.trainees[name]

    @contextmanager
    def pass_context(self, abandon: Callable[[], bool]) -> Iterator[PassContext]:
        """Yield the context of a pass that the watchdog watches.

        `abandon` is called only in a process that trains alone. It may make jobs leave, which is an order,
        and several processes cannot run an order in the middle of a pass.
        """
        allowed = abandon if self.processes.may_abandon else never_abandon
        with self._watchdog.over(allowed) as ask:
            yield PassContext(
                self.holder.base,
                self.memory_plan.step_tokens,
                self.processes,
                ask,
                recompute=self.memory_plan.recompute,
            )

    def admits(self, spec: JobSpec, rows: RowStore) -> bool:
        """Return whether all candidates of a job fit beside the trainees without changing their plan.

        If there are no trainees, the job may join in any case. `join` then says what does not fit.
        """
        loads = [self._load_of(candidate, rows) for candidate in spec.candidates]
        return self.plan.admits(self.holder.base.budget, [load for load in loads if load is not None])

    def _load_of(self, spec: JobSpec, rows: RowStore) -> Load | None:
        if not self.holder.predicts(spec):
            return None
        return self.holder.load_of(spec, longest_row(spec, rows))

    @property
    def planned(self) -> Planned | None:
        """How the trainees fit beside the base model; None if their memory cannot be predicted."""
        return self.plan.planned(self.holder.base.budget)

    @property
    def room_for_adapters(self) -> int:
        """The bytes that all adapters together may take before the present plan would have to change."""
        return self.plan.room(self.holder.base.budget)

    def expected(self, spec: JobSpec, rows: RowStore, rehearsed: Rehearsed) -> ExpectedBytes | None:
        """Return what the model of the memory says of rehearsed rows; None if the method has no model."""
        load, budget = self._load_of(spec, rows), self.holder.base.budget
        if load is None or budget.model is None:
            return None
        load = replace(
            load,
            longest_row=rehearsed.longest_row,
            usual_row=rehearsed.usual_row,
            supervised=rehearsed.supervised,
        )
        step = step_memory(budget.model, load, self.memory_plan.recompute, rehearsed.micro_batch)
        evaluation = evaluation_bytes(budget.model, load, rehearsed.micro_batch)
        return ExpectedBytes(step.peak, round(evaluation))

    def state_bytes(self, spec: JobSpec, candidates: Collection[int]) -> int:
        """Return the bytes that these candidates of a job take beside the resident base model."""
        return self.holder.state_bytes(spec, candidates)


def longest_row(spec: JobSpec, rows: RowStore) -> int:
    """Return the most tokens of a row in a step: of the longest row, with the answer that is sampled."""
    return len(rows.longest.tokens_L) + spec.sampled_tokens


def _refuse_difference(model: str, own: tuple[str, torch.dtype], first: tuple[str, torch.dtype]) -> None:
    """Raise JobError unless this process and the first have the same weights and compute in the same type."""
    if own == first:
        return
    if own[0] != first[0]:
        found = f"hold different weights of {model}."
    else:
        found = f"would compute {model} in different types. Declare its dtype in their catalogs."
    raise JobError("model_unavailable", f"The machines that train together {found}", "model")
