"""How a cohort fits its device, as jobs report it."""

from dataclasses import asdict, dataclass
from typing import Any

from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.sizes import in_words

AGAIN = {
    Recompute.NONE: "computes nothing again in the backward pass",
    Recompute.GATE_UP: "computes gate and up again in the backward pass",
    Recompute.LAYERS: "computes the layers again in the backward pass",
    Recompute.LAYERS_FROM_HOST: "computes the layers again in the backward pass, from inputs in host memory",
}


@dataclass(frozen=True)
class Planned:
    """The memory plan of a cohort, and the most bytes that it takes of those that the base model leaves."""

    memory_plan: MemoryPlan
    expected_bytes: int
    free_bytes: int

    def __str__(self) -> str:
        return (
            f"A step takes at most {self.memory_plan.step_tokens:,} tokens at once and "
            f"{AGAIN[self.memory_plan.recompute]}: an expected {in_words(self.expected_bytes)} of the "
            f"{in_words(self.free_bytes)} that the base model leaves free"
        )

    @property
    def data(self) -> dict[str, Any]:
        return {
            "code": "measures",
            **asdict(self.memory_plan),
            "expected_bytes": self.expected_bytes,
            "free_bytes": self.free_bytes,
        }
