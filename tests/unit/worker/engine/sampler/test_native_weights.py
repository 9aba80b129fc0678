"""The step in C is given only what it can read: numbers of its types, one behind the other in memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit

from worker.engine.base.quantisation import make_trainable
from worker.engine.decoders.quantised_weight import QuantisedWeight
from worker.engine.kernels.frozen_weight import DenseWeight, FrozenWeight
from worker.engine.kernels.in_c import products
from worker.engine.native import build
from worker.engine.sampler.fast.native import step, weights

FP32, BF16 = torch.float32, torch.bfloat16
W_KN, BIAS_N = torch.zeros(64, 256), torch.zeros(256)


@pytest.fixture
def layer() -> Any:
    made = Linear4bit(64, 256, bias=False, compute_dtype=FP32, quant_type="nf4").to("cpu")
    make_trainable(made.requires_grad_(False))
    return made


def test_c_reads_no_embedding_and_no_head_in_nf4(layer: Any) -> None:
    assert weights.held_rows(layer, FP32) is not None
    assert weights.held_words(layer, FP32) is None


@pytest.mark.parametrize(
    ("weight", "is_read"),
    [
        (DenseWeight(W_KN.T, BIAS_N), True),
        (DenseWeight(W_KN.T.bfloat16(), BIAS_N), False),
        (DenseWeight(torch.zeros(256, 64), BIAS_N), False),  # lies as [N, K]
        (DenseWeight(W_KN.T, BIAS_N.bfloat16()), False),
        (DenseWeight(W_KN.T, torch.zeros(512)[::2]), False),
    ],
)
def test_c_reads_a_whole_weight_and_its_bias_in_one_type_and_layout(
    weight: FrozenWeight, is_read: bool
) -> None:
    assert (weights.held(weight, FP32) is not None) == is_read


def test_c_reads_the_bias_of_a_quantised_weight_in_its_own_type(layer: Any) -> None:
    for bias_N, is_read in ((BIAS_N, True), (BIAS_N.bfloat16(), False)):
        weight = QuantisedWeight([layer], [slice(0, 256)], bias_N)
        assert (weights.held(weight, FP32) is not None) == is_read


@pytest.mark.parametrize("name", ["code", "absmax", "offset"])
def test_c_reads_the_scales_of_nf4_in_their_own_types_alone(layer: Any, name: str) -> None:
    state = layer.weight.quant_state
    setattr(state, name, getattr(state, name).to(BF16))
    assert weights.held_rows(layer, FP32) is None


def test_python_and_c_agree_about_sizes() -> None:
    folder = Path(weights.__file__).parent
    headers = [*folder.glob("*.h"), build.HEADERS / "native/products.h"]
    text = "".join(header.read_text() for header in headers)
    for name in ("NF4_BLOCK", "SCALES_BLOCK", "PROJECTIONS"):
        assert f"#define {name} {getattr(weights, name)} " in text
    assert f"#define TILE {step.TILE} " in text
    assert f"#define DECODED {products.OF_ROWS} " in text
