"""The memory of full fine-tuning follows from a step's tokens, and whether it fits has one answer."""

from dataclasses import replace
from typing import get_args

import pytest

from api.job_estimates.fit import Room
from core.estimates.job.devices import cpu
from core.estimates.shapes import BF16, Device, Load, ModelShape
from core.estimates.whole import Whole, expected_whole_memory
from core.estimates.workspace import CHUNK_TOKENS
from core.methods.whole import FullTuning

MODEL = ModelShape(
    layers=2, hidden=64, inner=128, heads=4, key_heads=2, head_size=16, vocabulary=49152, tied=True
)
LOAD = Load(Whole.of(MODEL).state(keeps_parent=False), 64, "cpu")


def test_the_logits_are_those_of_the_learnt_tokens_up_to_a_chunk() -> None:
    def head(tokens: int) -> float:
        return expected_whole_memory(MODEL, LOAD, tokens).step.head

    of_token = 3 * 4 * MODEL.vocabulary  # three fp32 values of each word
    assert head(200) - head(100) == 100 * of_token
    assert head(CHUNK_TOKENS) == head(2 * CHUNK_TOKENS)


@pytest.mark.parametrize("length", [64, 1024, 4096])
def test_a_job_fits_where_its_largest_batch_has_a_row(length: int) -> None:
    """The device's spare memory is left to nobody, whichever of the two is asked."""
    fitting = []
    for mebibytes in range(600, 2400, 10):
        room = Room(MODEL, (FullTuning(),), cpu("a CPU", mebibytes * 1024**2, BF16, 1), step_tokens=length)
        fitting.append(room.fit(length).memory_plan is not None)
        assert fitting[-1] == (room.largest_batch(length, 100) > 0)
    assert {*fitting} == {False, True}


def test_a_copy_that_is_saved_counts_where_it_is_larger_than_a_step() -> None:
    """On a CPU only: a GPU's copy is in the memory of its host."""
    wide = replace(MODEL, hidden=4096, inner=16384, vocabulary=300)
    load = Load(Whole.of(wide).state(keeps_parent=False), 8, "cpu")
    on_cpu, on_gpu = (
        expected_whole_memory(wide, replace(load, device=device), 8) for device in get_args(Device)
    )
    assert on_cpu.beside_base == load.state.total + 2 * Whole.of(wide).numbers > on_gpu.beside_base
