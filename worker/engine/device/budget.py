"""The memory that the resident base model leaves on its device. Each job's memory plan follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.estimates.activations import SAVED_KEYS
from core.estimates.adapters import StateBytes
from core.estimates.memory import step_memory
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.planning import USUAL_TOKENS, cheapest, grown, possible, room_for_adapters
from core.estimates.shapes import Device, Load, ModelShape


@dataclass(frozen=True)
class Budget:
    """The memory beside a base model.

    `free_bytes` were free once the base model was loaded, with nothing attached to it. `model` is None if the
    memory of its steps cannot be predicted. Then the usual plan is taken, and every adapter has room.
    `host_bytes` were free then in the memory of a GPU's host. A CPU is its own host, so it has none beside.
    """

    model: ModelShape | None
    free_bytes: int
    number_bytes: int
    device: Device
    lanes: int
    host_bytes: int = 0

    @property
    def usual_load(self) -> Load:
        """The load of a base model that no job trains on: the rows that keep most of each token."""
        return Load(StateBytes(), SAVED_KEYS, self.device, self.lanes)

    def plan(self, load: Load, offered: Sequence[Recompute], step_tokens: int | None = None) -> MemoryPlan:
        """Return the cheapest plan for a load, with what is `offered`. Raises JobError if it does not fit.

        The operator's `step_tokens` win.
        """
        if self.model is None:
            return self.usual_plan(offered, step_tokens)
        return cheapest(self.model, load, self.free_bytes, offered, step_tokens, self.host_bytes)

    def grown(self, load: Load, present: MemoryPlan, step_tokens: int | None = None) -> MemoryPlan | None:
        """Return the plan of jobs to which others have come; None if this load does not fit then."""
        if self.model is None:
            return present
        return grown(self.model, load, present, self.free_bytes, step_tokens, self.host_bytes)

    def usual_plan(self, offered: Sequence[Recompute], step_tokens: int | None = None) -> MemoryPlan:
        """Return the plan of jobs whose memory is not known beforehand."""
        usual = possible(offered, self.host_bytes)[0]
        return MemoryPlan(usual, step_tokens or USUAL_TOKENS[self.number_bytes])

    def room_for_adapters(self, load: Load, memory_plan: MemoryPlan, step_tokens: int | None = None) -> int:
        """Return the bytes that all adapters together may take with this plan."""
        if self.model is None:
            return self.free_bytes // 2
        return room_for_adapters(self.model, load, memory_plan, self.free_bytes, step_tokens)

    def expected_bytes(self, load: Load, memory_plan: MemoryPlan) -> int | None:
        """Return the most that adapters and a step take beside the base model; None if it is not known."""
        if self.model is None:
            return None
        tokens = max(memory_plan.step_tokens, load.longest_row)
        return load.state.total + step_memory(self.model, load, memory_plan.recompute, tokens).peak
