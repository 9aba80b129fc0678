"""On which devices a model trains, as the memory model says (`core/estimates`). Nothing is measured."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core.catalog import BaseModelEntry, Precision
from core.errors import JobError
from core.estimates.configuration import shape_of
from core.estimates.job.devices import CARDS, Machine
from core.estimates.loading import loading_bytes
from core.estimates.memory_plan import Recompute
from core.estimates.planning import cheapest
from core.estimates.runtime import runtime_bytes
from core.estimates.shapes import Load, base_bytes
from core.methods.low_rank import LoraAdapter

RANK, LONGEST_ROW = 16, 2048

Verdict = Literal["fits", "fits, a little slower", "fits, slower", "does not fit"]
IN_WORDS: Mapping[Recompute, Verdict] = {
    Recompute.NONE: "fits",
    Recompute.GATE_UP: "fits, a little slower",  # the backward pass computes a part of each layer again
    Recompute.LAYERS: "fits, slower",  # it computes every layer again
    Recompute.LAYERS_FROM_HOST: "fits, slower",
}


@dataclass(frozen=True)
class Fit:
    """Whether a job fits on a device, in each precision of the base model. `here` is false for the well-known
    cards, which may be nowhere.
    """

    device: str
    memory_bytes: int
    here: bool
    verdicts: Mapping[Precision, Verdict]


def fits_of(
    config: Mapping[str, Any],
    entry: BaseModelEntry,
    here: Iterable[Machine],
    longest_row: int = LONGEST_ROW,
) -> list[Fit]:
    """Return where a job fits: first on the machines that are `here`, then on well-known cards.

    The job trains a LoRA of rank RANK on all layers and experts, on rows of up to `longest_row` tokens or the
    entry's `max_length`. There is nothing for an architecture that the memory model does not know.
    """
    longest = min(longest_row, entry.max_length)
    machines = [(machine, True) for machine in here] + [(card, False) for card in CARDS]
    return [
        Fit(machine.title, machine.memory_bytes, is_here, verdicts)
        for machine, is_here in machines
        if (verdicts := _verdicts(config, entry, machine, longest))
    ]


def _verdicts(
    config: Mapping[str, Any], entry: BaseModelEntry, machine: Machine, longest: int
) -> dict[Precision, Verdict]:
    found: dict[Precision, Verdict] = {}
    for precision in entry.precisions:
        quantization = None if precision == "none" else precision
        model = shape_of(
            config,
            machine.number_bytes,
            quantization,
            flex_attention=machine.device == "gpu",
            max_length=entry.max_length,
        )
        if model is None:
            return {}
        load = Load.of(model, [LoraAdapter(r=RANK)], longest, machine.device, machine.lanes)
        try:
            held = runtime_bytes(model.number_bytes, machine.device) + base_bytes(model)
            free = machine.memory_bytes - held
            if free < loading_bytes(model):
                found[precision] = "does not fit"
                continue
            memory_plan = cheapest(model, load, free, host_bytes=machine.host_bytes)
            found[precision] = IN_WORDS[memory_plan.recompute]
        except JobError:
            found[precision] = "does not fit"
    return found
