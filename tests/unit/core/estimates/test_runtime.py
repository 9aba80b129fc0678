"""What a trainer holds beside its tensors is part of an estimate, and is left to no job."""

from dataclasses import replace

import pytest

from api.job_estimates.fit import Room
from core.estimates.job.devices import CARDS, cpu
from core.estimates.memory import StepMemory, step_memory
from core.estimates.memory_plan import Recompute
from core.estimates.runtime import LIBRARY_BYTES, code_bytes, gap_bytes, runtime_bytes
from core.estimates.shapes import BF16, Load, ModelShape
from core.methods.low_rank import LoraAdapter
from worker.process.environment import TRAINER_ENVIRONMENT

SMOLLM2 = ModelShape(
    layers=30, hidden=576, inner=1536, heads=9, key_heads=3, head_size=64, vocabulary=49152, tied=True
)
MEASURED = {"after one step": 66, "after five": 131, "after forty": 89, "six jobs of six ranks": 148}
"""MB of code and descriptions, in steps of different lengths."""


def step_of(tokens: int) -> StepMemory:
    load = Load.of(SMOLLM2, [LoraAdapter(r=16)], tokens, "cpu")
    return step_memory(SMOLLM2, load, Recompute.NONE, tokens)


def test_the_code_for_products_is_the_most_that_was_measured_or_a_little_more() -> None:
    assert 0 <= code_bytes(BF16, "cpu") / 1e6 - max(MEASURED.values()) <= 10
    # measured with these
    assert TRAINER_ENVIRONMENT["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "256"
    assert TRAINER_ENVIRONMENT["LRU_CACHE_CAPACITY"] == "128"


def test_only_a_cpu_that_multiplies_in_bf16_keeps_code_and_only_a_cpu_has_gaps() -> None:
    assert code_bytes(4, "cpu") == code_bytes(BF16, "gpu") == 0
    assert runtime_bytes(BF16, "gpu") == LIBRARY_BYTES["gpu"]
    assert gap_bytes(step_of(300), "gpu") == 0
    assert gap_bytes(step_of(300), "cpu") == pytest.approx(0.2 * step_of(300).peak, abs=1)


def test_a_job_on_a_cpu_may_not_take_the_memory_that_the_code_will_need() -> None:
    here = cpu("a CPU", 8 * 10**9, BF16, 1)
    room = Room(SMOLLM2, (LoraAdapter(r=16),), here)
    card = replace(room, machine=replace(CARDS[1], memory_bytes=here.memory_bytes))
    assert card.free_bytes - room.free_bytes == runtime_bytes(BF16, "cpu") - LIBRARY_BYTES["gpu"]
