"""How the trainees of a cohort fit the device together: with which memory plan, and who fits beside them."""

from collections.abc import Sequence

from core.errors import JobError
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.shapes import Load
from worker.engine.device.budget import Budget
from worker.trainer.devices.planned import Planned


class CohortPlan:
    """The loads of the trainees that are attached, and the memory plan with which all of them train.

    The memory plan is made when the first job joins. Another job joins only if the plan still holds. So it
    never changes how its neighbours train, but for smaller micro-batches on a GPU.
    """

    def __init__(self, offered: Sequence[Recompute], step_tokens: int | None) -> None:
        """`offered` are the ways to compute again. `step_tokens` are the operator's; None plans them."""
        self._offered = offered
        self._step_tokens = step_tokens
        self._loads: dict[str, Load | None] = {}  # None: the memory of that trainee cannot be predicted
        self._memory_plan: MemoryPlan | None = None

    @property
    def memory_plan(self) -> MemoryPlan:
        """The memory plan of the trainees; there must be one."""
        assert self._memory_plan is not None
        return self._memory_plan

    def add(self, name: str, load: Load | None, memory_plan: MemoryPlan) -> None:
        """Note a trainee that has joined, and the plan that holds from now on."""
        self._loads[name] = load
        self._memory_plan = memory_plan

    def remove(self, name: str) -> None:
        """Forget a trainee that has left. The plan is made anew once all have left."""
        self._loads.pop(name, None)
        if not self._loads:
            self._memory_plan = None

    def admits(self, budget: Budget, loads: Sequence[Load]) -> bool:
        """Return whether a job fits beside the trainees. With nobody there, it may try in any case."""
        if self._memory_plan is None:
            return True
        return budget.grown(self._with(loads), self._memory_plan, self._step_tokens) is not None

    def plan_with(self, budget: Budget, load: Load | None) -> MemoryPlan:
        """Return the memory plan once this load has come too. Raises JobError if it fits with none.

        Another plan than before is made only among the candidates of one job: for jobs beside others,
        `admits` has been asked before.
        """
        if load is None:
            return budget.usual_plan(self._offered, self._step_tokens)
        together = self._with([load])
        if self._memory_plan is not None and (
            same := budget.grown(together, self._memory_plan, self._step_tokens)
        ):
            return same
        return budget.plan(together, self._offered, self._step_tokens)

    def room(self, budget: Budget) -> int:
        """Return the bytes that all adapters together may take, as far as that is known without rows."""
        load = self._with([]) if self._known else budget.usual_load
        try:
            memory_plan = self._memory_plan or budget.plan(load, self._offered, self._step_tokens)
        except JobError:  # not even the usual rows fit: who joins first is told so
            return 0
        return budget.room_for_adapters(load, memory_plan, self._step_tokens)

    def planned(self, budget: Budget) -> Planned | None:
        """Return how the trainees fit beside the base model; None if their memory cannot be predicted."""
        if not self._known:
            return None
        expected = budget.expected_bytes(self._with([]), self.memory_plan)
        return None if expected is None else Planned(self.memory_plan, expected, budget.free_bytes)

    @property
    def _known(self) -> list[Load]:
        return [load for load in self._loads.values() if load is not None]

    def _with(self, loads: Sequence[Load]) -> Load:
        """Return the load of the trainees and of `loads` together; there must be one."""
        first, *others = [*self._known, *loads]
        return sum(others, first)
