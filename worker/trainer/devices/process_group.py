"""The processes of one trainer: the first process takes jobs and decides, and all follow its orders.

The first process broadcasts an order (`orders.py`), and each process carries it out. An error in one process
is shared with all before any of them goes on. A single process is a group of one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from core.estimates.measures import Measures, Recompute
from core.estimates.memory import step_memory
from core.estimates.shapes import Load
from core.estimates.workspace import evaluation_bytes
from core.jobs.spec import JobSpec
from worker.device.model_slot import ModelSlot
from worker.device.watchdog import Watchdog
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.published import Published
from worker.engine.base.base_model import ResidentBase
from worker.engine.device.free_memory import held_bytes
from worker.engine.sampler.answers import Answer, generate_answers
from worker.engine.start.initial_values import initial_values
from worker.engine.step.loop import Validation
from worker.engine.step.processes import GroupLost, Processes, SharedFault
from worker.engine.step.rehearsal import (
    Rehearsed,
    longest_rows,
    longest_step,
)
from worker.engine.step.totals import Evaluation, Score
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows.row import Row
from worker.rows.row_store import RowStore
from worker.trainer.devices.cohort_plan import CohortPlan
from worker.trainer.devices.orders import Orders
from worker.trainer.devices.planned import Planned

T = TypeVar("T")

log = structlog.get_logger()


class ExpectedBytes(NamedTuple):
    """What rows take at most beside all that is held, in a training step and in an evaluation."""

    step: int
    evaluation: int


class ProcessGroup:
    """The group, as one of its processes sees it. The first process gives orders; the others `follow` them.

    Every call may raise GroupLost.
    """

    def __init__(
        self,
        slot: ModelSlot,
        processes: Processes,
        max_step_tokens: int | None,
        watchdog: Watchdog,
        recompute: Recompute | Literal["auto"] = "auto",
    ) -> None:
        self._slot = slot
        self._processes = processes
        self._plan = CohortPlan(tuple(Recompute) if recompute == "auto" else (recompute,), max_step_tokens)
        self._watchdog = watchdog
        self._local = Orders(slot, processes, self._plan, watchdog)
        self.memory_bytes = 0  # the bytes that this process held on its device after the last round

    @property
    def size(self) -> int:
        return self._processes.size

    @property
    def measures(self) -> Measures:
        """The measures of the trainees together; there must be one."""
        return self._plan.measures

    @property
    def is_first(self) -> bool:
        """Whether this is the first process."""
        return self._processes.number == 0

    @property
    def stopping(self) -> bool:
        """Whether this process was told to stop."""
        return self._local.stopping.is_set()

    def stop(self) -> None:
        """Make the next `asked_to_stop` return True. May be called from any thread, in any process."""
        self._local.stopping.set()

    def asked_to_stop(self) -> bool:
        """Return whether any process was told to stop.

        The first process calls this often, even without work, to show the others that it still lives.
        """
        return self._order(Orders.count_heads)

    def load(self, spec: JobSpec) -> ResidentBase:
        """Make the base model of `spec` resident in all processes, and return it. Raises JobError."""
        if not self._slot.holds(spec):
            self._order(Orders.load, spec)
        return self._slot.base

    def join(
        self,
        name: str,
        spec: JobSpec,
        rows: RowStore,
        known: InitialValues,
        abandon: Callable[[], bool] = lambda: False,
        sibling: str | None = None,
    ) -> Trainee:
        """Attach a new adapter to the base model in all processes, and return its trainee.

        `known` are the first values of its parameters, if they are not to be computed. Only this process
        computes the others. `sibling` is the name of another candidate of the job. Raises JobError, and
        Abandoned if `abandon` returns True meanwhile.
        """
        load = self._load_of(spec, rows)
        measures = self._plan.measures_with(self._slot.base.budget, load)  # the others must cut alike
        with self._watchdog.over(abandon) as ask:
            first = initial_values(self._slot.base, spec, rows, known, ask)
        self._order(Orders.join, name, spec, rows, first, sibling, load, measures)
        return self._local.trainees[name]

    def admits(self, spec: JobSpec, rows: RowStore) -> bool:
        """Return whether all candidates of a job fit beside the trainees without changing their measures.

        If there are no trainees, the job may join in any case. `join` then says what does not fit.
        """
        loads = [self._load_of(candidate, rows) for candidate in spec.candidates]
        return self._plan.admits(self._slot.base.budget, [load for load in loads if load is not None])

    def _load_of(self, spec: JobSpec, rows: RowStore) -> Load | None:
        return None if spec.trains_alone else self._slot.load_of(spec, len(rows.longest.tokens_L))

    @property
    def planned(self) -> Planned | None:
        """How the trainees fit beside the base model; None if their memory cannot be predicted."""
        return self._plan.planned(self._slot.base.budget)

    @property
    def room_for_adapters(self) -> int:
        """The bytes that all adapters together may take before the present measures would have to change."""
        return self._plan.room(self._slot.base.budget)

    def take_parent(self, trainee: Trainee, parent: Published) -> None:
        """Run `Trainee.take_parent` in all processes. Raises JobError."""
        self._order(Orders.take_parent, trainee.adapter.name, parent)

    def share_state(self, trainee: Trainee) -> None:
        """Give all processes the step and the state of `trainee` in the first process."""
        if self.size == 1:
            return
        # Copies, since a view would be sent with the whole tensor behind it
        state = {name: tensor.to("cpu", copy=True) for name, tensor in trainee.state().items()}
        self._order(Orders.restore, trainee.adapter.name, trainee.step, state)

    def train_round(
        self, trainees: Sequence[Trainee], abandon: Callable[[], bool]
    ) -> Mapping[str, StepResult | Exception]:
        """Run `loop.train_round` in all processes, and return its result."""
        names = [trainee.adapter.name for trainee in trainees]
        results = self._order(Orders.train_round, names, abandon=abandon)
        self.memory_bytes = held_bytes(self._slot.base.device)
        return results

    def evaluate(
        self, trainee: Trainee, rows: Sequence[Row], abandon: Callable[[], bool], rank: int | None = None
    ) -> Evaluation:
        """Run `loop.validate` in all processes, with the first `rank` ranks; None takes all."""
        return self._order(Orders.evaluate, trainee.adapter.name, rows, rank, abandon=abandon)

    def evaluate_together(
        self, validations: Sequence[Validation], abandon: Callable[[], bool]
    ) -> list[list[Evaluation]]:
        """Run `loop.validate_together` in all processes, and return its result."""
        asked = [(each.trainee.adapter.name, each.rows, each.counts) for each in validations]
        return self._order(Orders.evaluate_together, asked, abandon=abandon)

    def measure(self, trainee: Trainee, rows: Sequence[Row], abandon: Callable[[], bool]) -> Score:
        """Run `loop.measure` in all processes, and return its result."""
        return self._order(Orders.measure, trainee.adapter.name, rows, abandon=abandon)

    def row_losses(
        self, trainee: Trainee, rows: Sequence[Row], abandon: Callable[[], bool]
    ) -> NDArray[np.float64]:
        """Run `loop.row_losses` in all processes, and return its result."""
        return self._order(Orders.row_losses, trainee.adapter.name, rows, abandon=abandon)

    def answer(
        self, trainee: Trainee, rows: Sequence[Row], max_new_tokens: int, abandon: Callable[[], bool]
    ) -> list[Answer]:
        """Return the model's answers to `rows`.

        Only this process generates them, since all processes have the same adapter. The others wait for an
        order.
        """
        with self._watchdog.over(abandon) as ask:
            return generate_answers(
                self._slot.base, trainee.adapter, rows, max_new_tokens, self.measures.step_tokens, ask
            )

    def rehearse_step(self, trainees: Sequence[Trainee], abandon: Callable[[], bool]) -> Rehearsed:
        """Run `rehearse_step` in all processes for the longest step, and return what this process took."""
        names = [trainee.adapter.name for trainee in trainees]
        step = longest_step(trainees[0], self.measures.step_tokens)
        return self._order(Orders.rehearse_step, names, step, abandon=abandon)

    def rehearse_evaluation(
        self, trainee: Trainee, rows: Sequence[Row], abandon: Callable[[], bool]
    ) -> Rehearsed:
        """Run `rehearse_evaluation` in all processes for the longest of these rows."""
        longest = longest_rows(rows, trainee.rows_per_example, self.measures.step_tokens)
        name = trainee.adapter.name
        return self._order(Orders.rehearse_evaluation, name, longest, abandon=abandon)

    def expected(self, spec: JobSpec, rows: RowStore, rehearsed: Rehearsed) -> ExpectedBytes | None:
        """Return what the model of the memory says of rehearsed rows; None if the method has no model."""
        load, budget = self._load_of(spec, rows), self._slot.base.budget
        if load is None or budget.model is None:
            return None
        load = replace(
            load,
            longest_row=rehearsed.longest_row,
            usual_row=rehearsed.usual_row,
            supervised=rehearsed.supervised,
        )
        step = step_memory(budget.model, load, self.measures.recompute, rehearsed.micro_batch)
        evaluation = evaluation_bytes(budget.model, load, rehearsed.micro_batch)
        return ExpectedBytes(step.peak, round(evaluation))

    def state_bytes(self, spec: JobSpec, candidates: Collection[int]) -> int:
        """Return the bytes that these candidates of a job take beside the resident base model."""
        return self._slot.state_bytes(spec, candidates)

    def leave(self, name: str) -> None:
        """Let go of the trainee of that name in all processes, if there is one."""
        self._order(Orders.leave, name)

    def free_memory(self) -> None:
        """Have all processes free what nobody holds any more, and the memory that is kept for later.

        Without this, a step after a fault might find no memory beside what the fault's step has left.
        """
        self._order(Orders.free_memory)

    def dismiss(self) -> None:
        """Give the last order: all processes end."""
        self._order(Orders.dismiss)

    def follow(self) -> None:
        """Carry out the first process's orders, until it dismisses this process."""
        while not self._local.dismissed:
            order, arguments = self._processes.broadcast((Orders.dismiss, ()))
            try:
                order(self._local, *arguments)
            except SharedFault as fault:  # the first process handles it
                log.warning("shared_fault", process=self._processes.number, exc_info=fault)

    def _order(self, order: Callable[..., T], *arguments: Any, **own: Any) -> T:
        """Have every process run `order` with `arguments`; only this process adds its `own` arguments."""
        self._processes.broadcast((order, arguments))
        try:
            return order(self._local, *arguments, **own)
        except SharedFault as fault:
            raise fault.error from fault
        except Exception as error:
            if self.size == 1:
                raise
            raise GroupLost(f"This process alone met {type(error).__name__}: {error}") from error
