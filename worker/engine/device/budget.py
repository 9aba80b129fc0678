"""What the resident base model leaves on its device: the plan of each job's measures follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.estimates.activations import SAVED_KEYS
from core.estimates.adapters import StateBytes
from core.estimates.measures import Measures, Recompute
from core.estimates.memory import step_memory
from core.estimates.plan import USUAL_TOKENS, cheapest, grown, possible, room_for_adapters
from core.estimates.shapes import Device, Load, ModelShape


@dataclass(frozen=True)
class Budget:
    """The memory beside a base model.

    `free_bytes` were free once the base model was loaded, with nothing attached to it. `model` is None if the
    memory of its steps cannot be predicted. Then the usual measures are taken, and every adapter has room.
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

    def measures(self, load: Load, offered: Sequence[Recompute], step_tokens: int | None = None) -> Measures:
        """Return the cheapest of the `offered` measures for a load. Raises JobError if it does not fit.

        The operator's `step_tokens` win.
        """
        if self.model is None:
            return self.usual_measures(offered, step_tokens)
        return cheapest(self.model, load, self.free_bytes, offered, step_tokens, self.host_bytes)

    def grown(self, load: Load, present: Measures, step_tokens: int | None = None) -> Measures | None:
        """Return the measures of jobs to which others have come; None if this load does not fit then."""
        if self.model is None:
            return present
        return grown(self.model, load, present, self.free_bytes, step_tokens, self.host_bytes)

    def usual_measures(self, offered: Sequence[Recompute], step_tokens: int | None = None) -> Measures:
        """Return the measures of jobs whose memory is not known beforehand."""
        usual = possible(offered, self.host_bytes)[0]
        return Measures(usual, step_tokens or USUAL_TOKENS[self.number_bytes])

    def room_for_adapters(self, load: Load, measures: Measures, step_tokens: int | None = None) -> int:
        """Return the bytes that all adapters together may take with these measures."""
        if self.model is None:
            return self.free_bytes // 2
        return room_for_adapters(self.model, load, measures, self.free_bytes, step_tokens)

    def expected_bytes(self, load: Load, measures: Measures) -> int | None:
        """Return the most that adapters and a step take beside the base model; None if it is not known."""
        if self.model is None:
            return None
        tokens = max(measures.step_tokens, load.longest_row)
        return load.state.total + step_memory(self.model, load, measures.recompute, tokens).peak
