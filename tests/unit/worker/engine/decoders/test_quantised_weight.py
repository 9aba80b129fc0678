"""The products of a quantised weight are those of the matrix that its layers stand for."""

from collections.abc import Sequence
from threading import Thread

import pytest
import torch
from torch import Tensor, nn

from core.estimates.configuration import shape_of
from core.estimates.shapes import Load
from core.estimates.workspace import PART_NUMBERS, mlp_backward_bytes
from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.accounting import Allocated
from tests.fixtures.engine.twins import DTYPES, TOLERANCE, relative_difference
from worker.engine.base.quantisation import make_trainable
from worker.engine.decoders.head import Head, head_losses
from worker.engine.decoders.layer_weight import dequantised, weight_of
from worker.engine.decoders.quantised_weight import QuantisedWeight
from worker.engine.decoders.weight_parts import parts_of
from worker.engine.kernels.frozen_weight import DenseWeight

TOKENS, INPUTS, WIDTHS = 24, 64, (48, 16, 32)
COLUMNS = [slice(0, 48), slice(48, 64), slice(64, 96)]


def layers(
    kind: str, dtype: torch.dtype, inputs: int = INPUTS, widths: Sequence[int] = WIDTHS
) -> list[nn.Module]:
    from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt

    torch.manual_seed(0)
    made: list[nn.Module] = []
    for width in widths:
        plain = nn.Linear(inputs, width, dtype=dtype)
        if kind == "nf4":
            layer = Linear4bit(inputs, width, compute_dtype=dtype, quant_type="nf4")
            layer.load_state_dict(plain.state_dict())
            made.append(layer.to(dtype).to("cpu"))
        elif kind == "int8":
            layer = Linear8bitLt(inputs, width, has_fp16_weights=False)
            layer.weight = Int8Params(plain.weight.data, requires_grad=False).to("cpu")
            made.append(layer)
        else:
            made.append(plain)
    make_trainable(nn.ModuleList(made).requires_grad_(False))
    return made


@DTYPES
@pytest.mark.parametrize("kind", ["nf4", "int8", "some are not"])
@pytest.mark.parametrize("biased", [False, True])
def test_both_products(kind: str, biased: bool, dtype: torch.dtype) -> None:
    of = layers("nf4" if kind == "some are not" else kind, dtype)
    if kind == "some are not":
        of[1] = layers("none", dtype)[1]
    bias_N = torch.randn(COLUMNS[-1].stop, dtype=dtype) if biased else None
    weight = QuantisedWeight(of, COLUMNS, bias_N)
    W_NK = torch.cat([weight_of(layer) for layer in of])
    x_TK, dy_TN = torch.randn(TOKENS, INPUTS, dtype=dtype), torch.randn(TOKENS, len(W_NK), dtype=dtype)
    assert weight.shape == W_NK.shape
    expected_TN = x_TK.float() @ W_NK.T + (0 if bias_N is None else bias_N.float())
    assert relative_difference(weight.forward(x_TK), expected_TN) < TOLERANCE[dtype]
    assert relative_difference(weight.backward(dy_TN), dy_TN.float() @ W_NK) < TOLERANCE[dtype]


def test_lanes_that_take_products_at_the_same_time_do_not_change_each_other() -> None:
    weight = QuantisedWeight(layers("nf4", torch.float32), COLUMNS, None)
    xs = [torch.randn(TOKENS, INPUTS) for _ in range(4)]
    expected = [weight.forward(x_TK) for x_TK in xs]
    wrong: list[int] = []

    def lane(number: int, x_TK: Tensor) -> None:
        wrong.extend(number for _ in range(50) if not torch.equal(weight.forward(x_TK), expected[number]))

    threads = [Thread(target=lane, args=each) for each in enumerate(xs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@DTYPES
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_parts_are_those_of_the_matrix_and_a_product_holds_one_of_them(kind: str, dtype: torch.dtype) -> None:
    """They are equal to the bit. The second width leaves smaller parts at the end."""
    of = layers(kind, dtype, inputs=1024, widths=(3072, 1088))
    for layer in of:
        W_NK = weight_of(layer, dtype)
        for axis in (0, 1):
            parts = list(parts_of(layer, dtype, axis))
            assert len(parts) > 1
            assert torch.equal(torch.cat([part for _, part in parts], axis), W_NK)
            places = torch.arange(W_NK.shape[axis])
            assert torch.equal(torch.cat([places[place] for place, _ in parts]), places)
    weight = QuantisedWeight(of, [slice(0, 3072), slice(3072, 4160)], None)
    W_NK = torch.cat([weight_of(layer) for layer in of])
    x_TK, dy_TN = torch.randn(8, 1024, dtype=dtype), torch.randn(8, len(W_NK), dtype=dtype)
    with Allocated() as counted:
        y_TN, dx_TK = weight.forward(x_TK), weight.backward(dy_TN)
    assert counted.peak < 3 * PART_NUMBERS * dtype.itemsize
    assert relative_difference(y_TN, x_TK.float() @ W_NK.T) < TOLERANCE[dtype]
    assert relative_difference(dx_TK, dy_TN.float() @ W_NK) < TOLERANCE[dtype]


def test_numbers_that_are_packed_in_another_type_than_bytes_are_one_part() -> None:
    from bitsandbytes.nn import Linear4bit

    layer = Linear4bit(1024, 3072, bias=False, quant_type="nf4", quant_storage=torch.bfloat16).to("cpu")
    ((place, W_NK),) = parts_of(layer, torch.float32, axis=0)
    assert place == slice(None)
    assert torch.equal(W_NK, weight_of(layer))


@pytest.mark.parametrize("inputs", [1024, 1040])
def test_the_estimate_counts_parts_only_where_there_are_some_and_scales_too(inputs: int) -> None:
    """Rows of 1,040 numbers end within a block of nf4."""
    (layer,) = layers("nf4", torch.float32, inputs, widths=(4096,))
    with Allocated() as counted:
        QuantisedWeight([layer], [slice(0, 4096)], None).forward(torch.randn(1, inputs))
    config = {"num_hidden_layers": 1, "hidden_size": inputs, "intermediate_size": 4096, "vocab_size": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 64}
    shape = shape_of({**config, **heads, "model_type": "llama"}, 4, "nf4")
    assert shape is not None
    load = Load.of(shape, [LoraAdapter(r=2)], 64, "cpu")
    assert mlp_backward_bytes(shape, load, tokens=0) / load.lanes == pytest.approx(counted.peak, rel=0.02)


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_losses_of_a_head_in_8_bits_make_no_copy_of_it(softcap: float | None) -> None:
    (layer,) = layers("int8", torch.float32, inputs=1024, widths=(4096,))
    head = Head(layer, torch.float32, 1.0, softcap)
    labels_S, weights_S = torch.randint(0, 4096, (20,)), torch.rand(20)
    hidden_SD = torch.randn(20, 1024).requires_grad_()
    found = []
    with Allocated() as counted:
        found.append(head_losses(hidden_SD, head.weight, softcap, labels_S, weights_S).weighted_S)
        found += torch.autograd.grad(found[0].sum(), hidden_SD)
    assert counted.peak < 3 * PART_NUMBERS * 4
    whole = head_losses(
        hidden_SD, DenseWeight(weight_of(layer, torch.float32)), softcap, labels_S, weights_S
    ).weighted_S
    assert relative_difference(found[0], whole) < TOLERANCE[torch.float32]
    (expected_SD,) = torch.autograd.grad(whole.sum(), hidden_SD)
    assert relative_difference(found[1], expected_SD) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("rows", [1, 64, 150])
def test_8_bits_become_bf16_with_a_single_rounding(rows: int) -> None:
    int8_NK = torch.randint(-127, 128, (rows, 32), dtype=torch.int8)
    absmax_N = torch.rand(rows)
    exact_NK = int8_NK.float() * (absmax_N / 127)[:, None]
    assert torch.equal(dequantised(int8_NK, absmax_N, torch.bfloat16), exact_NK.bfloat16())
    assert torch.equal(dequantised(int8_NK, absmax_N, torch.float32), exact_NK)
