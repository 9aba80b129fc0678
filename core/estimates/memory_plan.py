"""What a trainer may do to make a job fit a device, from the cheapest to the dearest."""

from dataclasses import dataclass
from enum import StrEnum


class Recompute(StrEnum):
    """What the backward pass computes again instead of keeping it."""

    NONE = "none"
    GATE_UP = "gate_up"  # the outputs of gate and up, the widest values of a layer
    LAYERS = "layers"  # all that a layer keeps: only its input is left
    LAYERS_FROM_HOST = "layers_from_host"  # the same, and inputs wait in host memory: only for a GPU


@dataclass(frozen=True)
class MemoryPlan:
    """What is recomputed, and the most tokens of a micro-batch."""

    recompute: Recompute
    step_tokens: int
