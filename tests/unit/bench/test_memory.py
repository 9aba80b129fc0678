"""The memory model agrees with torch's own accounting of the engine, on models that are not in memory."""

from dataclasses import replace

import pytest

from bench.memory.models import CASES, Case
from bench.memory.tracked import track
from core.estimates.measures import Recompute
from core.estimates.memory import step_memory
from core.estimates.shapes import Load, base_bytes
from core.methods.low_rank import LoraAdapter

ROWS, LENGTH, SUPERVISED, LAYERS, RANK = 4, 512, 64, 2, 16


@pytest.mark.parametrize("case", CASES[:5], ids=lambda case: case.name)
def test_the_memory_of_a_step_is_what_torch_counts(case: Case) -> None:
    """All layers are alike, so two are enough."""
    counted = track(case, ROWS, LENGTH, SUPERVISED, RANK, LAYERS)
    model = replace(case.shape, layers=LAYERS)
    tokens = ROWS * LENGTH
    load = Load.of(model, [LoraAdapter(r=RANK)], LENGTH, "cpu")
    step = step_memory(model, replace(load, supervised=SUPERVISED / tokens), Recompute.NONE, tokens)
    held = base_bytes(model) + load.state.total - load.state.moments
    assert counted.before == pytest.approx(held, rel=0.01)
    assert counted.peak - counted.before == pytest.approx(step.peak, rel=0.1)
