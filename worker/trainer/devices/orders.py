"""What each process of a trainer does when the first process orders it.

An order is a method of `Orders` with its arguments. Each process runs it on its own base model and trainees.
So all processes make the same calls in the same order, also when a job joins, leaves or fails.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import JobError
from core.estimates.measures import Measures
from core.estimates.shapes import Load
from core.jobs.spec import JobSpec
from worker.device.model_slot import ModelSlot
from worker.device.watchdog import Watchdog
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.attach import attach
from worker.engine.adapters.published import Published
from worker.engine.base.loading import declared_dtype
from worker.engine.device.free_memory import collect_garbage
from worker.engine.step import loop
from worker.engine.step.context import PassContext, never_abandon
from worker.engine.step.passes import Abandoned
from worker.engine.step.processes import Processes, SharedFault
from worker.engine.step.rehearsal import Rehearsed, rehearse_evaluation, rehearse_step
from worker.engine.step.totals import Evaluation, Score
from worker.engine.step.trainee import StepResult, Trainee, total_steps
from worker.rows.row import Row
from worker.rows.row_store import RowStore
from worker.trainer.devices.cohort_plan import CohortPlan


class Orders:
    """The orders, with what one process has: its base model, its trainees, and how they fit its device."""

    def __init__(self, slot: ModelSlot, processes: Processes, plan: CohortPlan, watchdog: Watchdog) -> None:
        self.slot, self.plan = slot, plan
        self.trainees: dict[str, Trainee] = {}
        self.stopping = threading.Event()
        """Set when this process is told to stop, from any thread."""
        self.dismissed = False
        """Whether the last order has been carried out."""
        self._processes, self._watchdog = processes, watchdog

    def count_heads(self) -> bool:
        return self._processes.any(self.stopping.is_set())

    def load(self, spec: JobSpec) -> None:
        try:
            with self._processes.together():
                found = self.slot.find(spec.base_model, spec.sharded, spec.training.quantization)
            own = found.source_sha256, declared_dtype(found.entry, self.slot.device)
            first = self._processes.broadcast(own)
            with self._processes.together():
                _refuse_difference(spec.base_model, own, first)
                self.slot.load(found)
        except SharedFault:
            self.slot.clear()  # a process failed; this one may have loaded the model
            raise

    def join(
        self,
        name: str,
        spec: JobSpec,
        rows: RowStore,
        first: InitialValues,
        sibling: str | None,
        load: Load | None,
        measures: Measures,
    ) -> None:
        with self._processes.together():
            longest = len(rows.longest.tokens_L)
            step_tokens = max(measures.step_tokens, longest)
            steps = total_steps(spec, rows)
            adapter = attach(self.slot.base, name, spec, steps, step_tokens, longest, first)
            self.trainees[name] = Trainee(adapter, spec, rows, self.trainees[sibling] if sibling else None)
        self.plan.add(name, load, measures)

    def take_parent(self, name: str, parent: Published) -> None:
        with self._processes.together():
            self.trainees[name].take_parent(parent)

    def restore(self, name: str, step: int, state: dict[str, Tensor]) -> None:
        with self._processes.together():
            self.trainees[name].restore(step, state)

    def train_round(
        self, names: Sequence[str], abandon: Callable[[], bool] = never_abandon
    ) -> Mapping[str, StepResult | Exception]:
        trainees = [self._trainee(name) for name in names]
        with self.pass_context(abandon) as context:
            return loop.train_round(context, trainees)

    def evaluate(
        self,
        name: str,
        rows: Sequence[Row],
        rank: int | None,
        abandon: Callable[[], bool] = never_abandon,
    ) -> Evaluation:
        trainee = self._trainee(name)
        with self.pass_context(abandon) as context, trainee.at_rank(rank):
            return loop.validate(context, trainee, rows)

    def evaluate_together(
        self,
        asked: Sequence[tuple[str, Sequence[Row], Sequence[int]]],
        abandon: Callable[[], bool] = never_abandon,
    ) -> list[list[Evaluation]]:
        validations = [loop.Validation(self._trainee(name), rows, counts) for name, rows, counts in asked]
        with self.pass_context(abandon) as context:
            return loop.validate_together(context, validations)

    def measure(self, name: str, rows: Sequence[Row], abandon: Callable[[], bool] = never_abandon) -> Score:
        trainee = self._trainee(name)
        with self.pass_context(abandon) as context:
            return loop.measure(context, trainee, rows)

    def row_losses(
        self, name: str, rows: Sequence[Row], abandon: Callable[[], bool] = never_abandon
    ) -> NDArray[np.float64]:
        trainee = self._trainee(name)
        with self.pass_context(abandon) as context, trainee.at_rank(None):
            return loop.row_losses(context, trainee, rows)

    def rehearse_step(
        self, names: Sequence[str], step: int, abandon: Callable[[], bool] = never_abandon
    ) -> Rehearsed:
        trainees = [self._trainee(name) for name in names]
        with self.pass_context(abandon) as context:
            return rehearse_step(context, trainees, step)

    def rehearse_evaluation(
        self, name: str, rows: Sequence[Row], abandon: Callable[[], bool] = never_abandon
    ) -> Rehearsed:
        trainee = self._trainee(name)
        with self.pass_context(abandon) as context:
            return rehearse_evaluation(context, trainee, rows)

    def _trainee(self, name: str) -> Trainee:
        """Return the trainee. Raises Abandoned if it has left: nobody waits for a result of its rows."""
        if name not in self.trainees:
            raise Abandoned
        return self.trainees[name]

    @contextmanager
    def pass_context(self, abandon: Callable[[], bool]) -> Iterator[PassContext]:
        """Yield the context of a pass that the watchdog watches.

        `abandon` is called only in a process that trains alone. It may make jobs leave, which is an order,
        and several processes cannot run an order in the middle of a pass.
        """
        allowed = abandon if self._processes.may_abandon else never_abandon
        with self._watchdog.over(allowed) as ask:
            measures = self.plan.measures
            yield PassContext(
                self.slot.base, measures.step_tokens, self._processes, ask, recompute=measures.recompute
            )

    def free_memory(self) -> None:
        collect_garbage(self.slot.device)

    def leave(self, name: str) -> None:
        self.trainees.pop(name, None)
        self.plan.remove(name)

    def dismiss(self) -> None:
        self.dismissed = True
        self._processes.close()


def _refuse_difference(model: str, own: tuple[str, torch.dtype], first: tuple[str, torch.dtype]) -> None:
    """Raise JobError unless this process and the first have the same weights and compute in the same type."""
    if own == first:
        return
    if own[0] != first[0]:
        found = f"hold different weights of {model}."
    else:
        found = f"would compute {model} in different types. Declare its dtype in their catalogs."
    raise JobError("model_unavailable", f"The machines that train together {found}", "model")
