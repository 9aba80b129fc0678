"""The processes of one trainer: the first process takes jobs and decides, and all follow its orders.

An order is a method with its arguments. The first process broadcasts it, and each process runs it on its own
base model and trainees. So all processes make the same calls in the same order, also when a job joins, leaves
or fails.
An error in one process is shared with all before any of them goes on. A single process is a group of one.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import structlog
import torch
from torch import Tensor

from core.errors import JobError
from core.estimates.measures import Measures, Recompute
from core.estimates.shapes import Load
from core.jobs.spec import JobSpec
from worker.devices.cohort_plan import CohortPlan
from worker.devices.model_slot import ModelSlot
from worker.devices.planned import Planned
from worker.devices.watchdog import Watchdog
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.attach import attach
from worker.engine.adapters.published import Published
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.loading import declared_dtype
from worker.engine.device.free_memory import held_bytes
from worker.engine.generate.answers import Answer, generate_answers
from worker.engine.start.initial_values import initial_values
from worker.engine.step import loop
from worker.engine.step.context import PassContext, never_abandon
from worker.engine.step.passes import Abandoned
from worker.engine.step.processes import GroupLost, Processes, SharedFault
from worker.engine.step.totals import Evaluation, Score
from worker.engine.step.trainee import StepResult, Trainee, total_steps
from worker.row_store import RowStore
from worker.rows import Row

T = TypeVar("T")

log = structlog.get_logger()


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
        self.memory_bytes = 0  # the bytes that this process held on its device after the last round
        self._trainees: dict[str, Trainee] = {}
        self._stopping = threading.Event()
        self._dismissed = False

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
        return self._stopping.is_set()

    def stop(self) -> None:
        """Make the next `asked_to_stop` return True. May be called from any thread, in any process."""
        self._stopping.set()

    def asked_to_stop(self) -> bool:
        """Return whether any process was told to stop.

        The first process calls this often, even without work, to show the others that it still lives.
        """
        return self._order(ProcessGroup._count_heads)

    def load(self, spec: JobSpec) -> ResidentBase:
        """Make the base model of `spec` resident in all processes, and return it. Raises JobError."""
        if not self._slot.holds(spec):
            self._order(ProcessGroup._load, spec)
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
        self._order(ProcessGroup._join, name, spec, rows, first, sibling, load, measures)
        return self._trainees[name]

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
        self._order(ProcessGroup._take_parent, trainee.adapter.name, parent)

    def share_state(self, trainee: Trainee) -> None:
        """Give all processes the step and the state of `trainee` in the first process."""
        if self.size == 1:
            return
        # Copies, since a view would be sent with the whole tensor behind it
        state = {name: tensor.to("cpu", copy=True) for name, tensor in trainee.state().items()}
        self._order(ProcessGroup._restore, trainee.adapter.name, trainee.step, state)

    def train_round(
        self, trainees: Sequence[Trainee], abandon: Callable[[], bool]
    ) -> Mapping[str, StepResult | Exception]:
        """Run `loop.train_round` in all processes, and return its result."""
        names = [trainee.adapter.name for trainee in trainees]
        results = self._order(ProcessGroup._train_round, names, abandon=abandon)
        self.memory_bytes = held_bytes(self._slot.base.device)
        return results

    def evaluate(
        self, trainee: Trainee, rows: Sequence[Row], abandon: Callable[[], bool], rank: int | None = None
    ) -> Evaluation:
        """Run `loop.validate` in all processes, with the first `rank` ranks; None takes all."""
        name, counts = trainee.adapter.name, [len(rows)]
        return self._order(ProcessGroup._evaluate, name, rows, counts, rank, abandon=abandon)[0]

    def evaluate_beginnings(
        self, trainee: Trainee, rows: Sequence[Row], counts: Sequence[int], abandon: Callable[[], bool]
    ) -> list[Evaluation]:
        """Run `loop.validate_beginnings` in all processes, and return its result."""
        return self._order(ProcessGroup._evaluate, trainee.adapter.name, rows, counts, None, abandon=abandon)

    def measure(self, trainee: Trainee, rows: Sequence[Row], abandon: Callable[[], bool]) -> Score:
        """Run `loop.measure` in all processes, and return its result."""
        return self._order(ProcessGroup._measure, trainee.adapter.name, rows, abandon=abandon)

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

    def state_bytes(self, spec: JobSpec, candidates: Collection[int]) -> int:
        """Return the bytes that these candidates of a job take beside the resident base model."""
        return self._slot.state_bytes(spec, candidates)

    def leave(self, name: str) -> None:
        """Let go of the trainee of that name in all processes, if there is one."""
        self._order(ProcessGroup._leave, name)

    def dismiss(self) -> None:
        """Give the last order: all processes end."""
        self._order(ProcessGroup._dismiss)

    def follow(self) -> None:
        """Carry out the first process's orders, until it dismisses this process."""
        while not self._dismissed:
            order, arguments = self._processes.broadcast((ProcessGroup._dismiss, ()))
            try:
                order(self, *arguments)
            except SharedFault as fault:  # the first process handles it
                log.warning("shared_fault", process=self._processes.number, exc_info=fault)

    def _order(self, order: Callable[..., T], *arguments: Any, **own: Any) -> T:
        """Have every process run `order` with `arguments`; only this process adds its `own` arguments."""
        self._processes.broadcast((order, arguments))
        try:
            return order(self, *arguments, **own)
        except SharedFault as fault:
            raise fault.error from fault
        except Exception as error:
            if self.size == 1:
                raise
            raise GroupLost(f"This process alone met {type(error).__name__}: {error}") from error

    # The orders, as every process carries them out

    def _count_heads(self) -> bool:
        return self._processes.any(self.stopping)

    def _load(self, spec: JobSpec) -> None:
        try:
            with self._processes.together():
                found = self._slot.find(spec.base_model, spec.sharded, spec.training.quantization)
            own = found.source_sha256, declared_dtype(found.entry, self._slot.device)
            first = self._processes.broadcast(own)
            with self._processes.together():
                _refuse_difference(spec.base_model, own, first)
                self._slot.load(found)
        except SharedFault:
            self._slot.clear()  # a process failed; this one may have loaded the model
            raise

    def _join(
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
            step_tokens = max(measures.step_tokens, len(rows.longest.tokens_L))
            steps = total_steps(spec, rows)
            adapter = attach(self._slot.base, name, spec, steps, step_tokens, first)
            self._trainees[name] = Trainee(adapter, spec, rows, self._trainees[sibling] if sibling else None)
        self._plan.add(name, load, measures)

    def _take_parent(self, name: str, parent: Published) -> None:
        with self._processes.together():
            self._trainees[name].take_parent(parent)

    def _restore(self, name: str, step: int, state: dict[str, Tensor]) -> None:
        with self._processes.together():
            self._trainees[name].restore(step, state)

    def _train_round(
        self, names: Sequence[str], abandon: Callable[[], bool] = never_abandon
    ) -> Mapping[str, StepResult | Exception]:
        trainees = [self._trainee(name) for name in names]
        with self._pass_context(abandon) as context:
            return loop.train_round(context, trainees)

    def _evaluate(
        self,
        name: str,
        rows: Sequence[Row],
        counts: Sequence[int],
        rank: int | None,
        abandon: Callable[[], bool] = never_abandon,
    ) -> list[Evaluation]:
        trainee = self._trainee(name)
        with self._pass_context(abandon) as context, trainee.at_rank(rank):
            return loop.validate_beginnings(context, trainee, rows, counts)

    def _measure(self, name: str, rows: Sequence[Row], abandon: Callable[[], bool] = never_abandon) -> Score:
        trainee = self._trainee(name)
        with self._pass_context(abandon) as context:
            return loop.measure(context, trainee, rows)

    def _trainee(self, name: str) -> Trainee:
        """Return the trainee. Raises Abandoned if it has left: nobody waits for a result of its rows."""
        if name not in self._trainees:
            raise Abandoned
        return self._trainees[name]

    @contextmanager
    def _pass_context(self, abandon: Callable[[], bool]) -> Iterator[PassContext]:
        """Yield the context of a pass that the watchdog watches.

        `abandon` is called only in a process that trains alone. It may make jobs leave, which is an order,
        and several processes cannot run an order in the middle of a pass.
        """
        allowed = abandon if self._processes.may_abandon else never_abandon
        with self._watchdog.over(allowed) as ask:
            measures = self.measures
            yield PassContext(
                self._slot.base, measures.step_tokens, self._processes, ask, recompute=measures.recompute
            )

    def _leave(self, name: str) -> None:
        self._trainees.pop(name, None)
        self._plan.remove(name)

    def _dismiss(self) -> None:
        self._dismissed = True
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
