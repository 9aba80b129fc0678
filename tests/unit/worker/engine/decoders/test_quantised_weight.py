"""The products of a quantised weight are those of the matrix that its layers stand for."""

from threading import Thread
from weakref import ref

import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.engine.twins import DTYPES, TOLERANCE, relative_difference
from worker.engine.base.quantisation import make_trainable
from worker.engine.decoders import quantised_weight
from worker.engine.decoders.head import Head
from worker.engine.decoders.layer_weight import dequantised, weight_of
from worker.engine.decoders.quantised_weight import QuantisedWeight

TOKENS, INPUTS, WIDTHS = 24, 64, (48, 16, 32)
COLUMNS = [slice(0, 48), slice(48, 64), slice(64, 96)]


def layers(kind: str, dtype: torch.dtype) -> list[nn.Module]:
    from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt

    torch.manual_seed(0)
    made: list[nn.Module] = []
    for width in WIDTHS:
        plain = nn.Linear(INPUTS, width, dtype=dtype)
        if kind == "nf4":
            layer = Linear4bit(INPUTS, width, compute_dtype=dtype, quant_type="nf4")
            layer.load_state_dict(plain.state_dict())
            made.append(layer.to("cpu"))
        elif kind == "int8":
            layer = Linear8bitLt(INPUTS, width, has_fp16_weights=False)
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


def test_at_most_one_layer_s_matrix_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ref[Tensor]] = []

    def watched(layer: nn.Module, dtype: torch.dtype) -> Tensor:
        assert not any(each() is not None for each in made)
        made.append(ref(matrix := weight_of(layer, dtype)))
        return matrix

    monkeypatch.setattr(quantised_weight, "weight_of", watched)
    weight = QuantisedWeight(layers("int8", torch.float32), COLUMNS, None)
    weight.backward(weight.forward(torch.randn(TOKENS, INPUTS)))
    assert [each() for each in made] == [None] * 6


def test_lanes_share_one_copy_of_a_head_in_8_bits() -> None:
    layer = layers("int8", torch.float32)[0]
    head = Head(layer, torch.float32, 1.0, None)
    first_VD = head.weight_VD
    assert head.weight_VD is first_VD
    gone = ref(first_VD)
    del first_VD
    assert gone() is None


@pytest.mark.parametrize("rows", [1, 64, 150])
def test_8_bits_become_bf16_with_a_single_rounding(rows: int) -> None:
    int8_NK = torch.randint(-127, 128, (rows, 32), dtype=torch.int8)
    absmax_N = torch.rand(rows)
    exact_NK = int8_NK.float() * (absmax_N / 127)[:, None]
    assert torch.equal(dequantised(int8_NK, absmax_N, torch.bfloat16), exact_NK.bfloat16())
    assert torch.equal(dequantised(int8_NK, absmax_N, torch.float32), exact_NK)
