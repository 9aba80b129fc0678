"""Which model trains on which card, and with which memory plan, as the memory model says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.memory.models import CASES, Case
from core.errors import JobError
from core.estimates.job.devices import HOST_SHARE
from core.estimates.memory import memory
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.planning import cheapest
from core.estimates.shapes import Load, base_bytes
from core.methods.low_rank import LoraAdapter
from core.units import GIB

CARDS = (24, 48, 80)  # GiB
RUNTIME = GIB // 2  # of a card: CUDA's context and cuBLAS' workspaces
NAMES = {
    Recompute.NONE: "nothing",
    Recompute.GATE_UP: "gate and up",
    Recompute.LAYERS: "layers",
    Recompute.LAYERS_FROM_HOST: "layers from the host",
}


@dataclass(frozen=True)
class Fit:
    """The plan of one model on one card."""

    memory_plan: MemoryPlan | None
    peak: int

    def __str__(self) -> str:
        if self.memory_plan is None:
            return "does not fit"
        tokens = self.memory_plan.step_tokens
        return f"{tokens:,} tokens, {NAMES[self.memory_plan.recompute]}, {self.peak / GIB:.1f}"


def fit(case: Case, card: int, rank: int, longest_row: int) -> Fit:
    """Return the plan of one LoRA on a card of so many GiB."""
    model = case.shape
    load = Load.of(model, [LoraAdapter(r=rank)], longest_row, "gpu")
    free = card * GIB - RUNTIME - base_bytes(model)
    try:
        memory_plan = cheapest(model, load, free, host_bytes=round(HOST_SHARE * card * GIB))
    except JobError:
        return Fit(None, 0)
    return Fit(memory_plan, memory(model, load, memory_plan).peak)


def table(rank: int, longest_row: int) -> list[dict[str, Any]]:
    """Return a row for each model: its weights, and its plan on each card."""
    return [
        {
            "model": case.name,
            "weights": f"{base_bytes(case.shape) / GIB:.1f}",
            **{f"{card} GiB": str(fit(case, card, rank, longest_row)) for card in CARDS},
        }
        for case in CASES
    ]
