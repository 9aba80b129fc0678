"""Products in 8 bits: near to exact ones, the same in C and in PyTorch, and of each token by itself."""

import math
from pathlib import Path

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor

from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec, make_trainee, train
from tests.fixtures.engine.twins import DTYPES, relative_difference
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.fast import Decoder
from worker.engine.kernels.int8 import rows as int8_rows
from worker.engine.kernels.int8.rows import (
    Rows,
    quantise_rows,
    quantise_rows_plainly,
    rescale_rows,
    rescale_rows_plainly,
)
from worker.engine.kernels.int8.weight import Int8Weight

CPU = torch.device("cpu")
DECLARED = {torch.float32: "fp32", torch.bfloat16: "bf16"}
NEAR = 0.015  # of values that are spread as those of a normal distribution
needs_vnni = pytest.mark.skipif(not Int8Weight.is_fast_on(CPU), reason="this CPU has no VNNI")


def odd_rows(dtype: torch.dtype) -> Tensor:
    """Rows of an odd width that are apart in memory: usual ones, one of a single value, one of zeros."""
    x_TK = torch.randn(7, 120)[:, :101].to(dtype)
    x_TK[2], x_TK[3] = 2.5, 0.0
    return x_TK


@DTYPES
@pytest.mark.parametrize("weighted", [False, True])
def test_c_rounds_rows_as_its_plain_twin(dtype: torch.dtype, weighted: bool) -> None:
    x_TK, weight_K = odd_rows(dtype), torch.rand(101) if weighted else None
    for ours, plain in zip(quantise_rows(x_TK, weight_K), quantise_rows_plainly(x_TK, weight_K), strict=True):
        assert (ours.float() - plain.float()).abs().max() <= (1 if ours.dtype == torch.int8 else 1e-6)
    rows, product_TN, sums_N = quantise_rows(x_TK), torch.randint(-9, 9, (7, 33)).int(), torch.randn(33)
    for scale_N, bias_N in ((None, torch.randn(33)), (torch.rand(33), None)):
        ours, plain = (
            function(product_TN, rows, scale_N, sums_N, bias_N, dtype)
            for function in (rescale_rows, rescale_rows_plainly)
        )
        assert relative_difference(ours, plain) < (1e-6 if dtype == torch.float32 else 4e-3)


@DTYPES
def test_a_rounded_row_is_at_most_half_a_step_away(dtype: torch.dtype) -> None:
    x_TK = odd_rows(dtype)
    q_TK, scale_T, offset_T = quantise_rows(x_TK)
    back_TK = scale_T[:, None] * q_TK.float() + offset_T[:, None]
    assert ((back_TK - x_TK.float()).abs() <= 0.501 * scale_T[:, None] + 1e-6).all()


@needs_vnni
@DTYPES
def test_both_products_are_near_to_exact_ones(dtype: torch.dtype) -> None:
    x_TK, W_NK, bias_N = torch.randn(37, 576) + 0.5, torch.randn(96, 576) * torch.rand(96, 1), torch.randn(96)
    weight = Int8Weight.of(W_NK.to(dtype), bias_N)
    assert weight.shape == (96, 576)
    y_TN, dx_TK = weight.forward(x_TK.to(dtype)), weight.backward(x_TK[:, :96].to(dtype))
    assert (y_TN.dtype, dx_TK.dtype) == (dtype, dtype)
    assert relative_difference(y_TN, x_TK @ W_NK.T + bias_N) < NEAR
    assert relative_difference(dx_TK, x_TK[:, :96] @ W_NK) < NEAR


@needs_vnni
def test_a_token_s_products_do_not_depend_on_the_tokens_beside_it() -> None:
    weight, x_TK = Int8Weight.of(torch.randn(64, 96)), torch.randn(50, 96)
    for product in (weight.forward, lambda x: weight.backward(x[:, :64])):
        assert torch.equal(product(x_TK)[20:31], product(x_TK[20:31]))
        assert torch.equal(product(x_TK)[:1], product(x_TK[:1]))


@needs_vnni
@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_is_not_finite_is_not_hidden(odd: float) -> None:
    x_TK = torch.randn(3, 64)
    x_TK[1, 5] = odd
    y_TN = Int8Weight.of(torch.randn(32, 64)).forward(x_TK)
    assert y_TN[1].isnan().all()
    assert y_TN[[0, 2]].isfinite().all()


@needs_vnni
def test_a_training_in_8_bits_learns_as_an_exact_one(tiny_folder: Path) -> None:
    rows = make_rows(12, seed=5)
    losses = []
    for compute in (None, "int8"):
        base = ResidentBase(TINY.model_copy(update={"compute": compute}), tiny_folder, "", CPU)
        base.compute_as_declared()
        assert base.compute == compute
        losses.append(train(base, [make_trainee(base, "job", make_spec(), rows)], 6)["job"])
    exact, rounded = (torch.tensor(each) for each in losses)
    assert exact[-1] < exact[0]
    assert not torch.equal(exact, rounded)
    assert ((rounded - exact).abs() < 0.01 * exact).all()


@needs_vnni
@DTYPES
def test_weights_that_are_held_in_8_bits_are_multiplied_as_they_are(
    dtype: torch.dtype, tiny_folder: Path
) -> None:
    """So they take half of bf16's memory, and transformers' own modules compute with the same numbers."""
    entry = TINY.model_copy(update={"quantization": "int8", "dtype": DECLARED[dtype]})
    base = ResidentBase(entry, tiny_folder, "", CPU)
    decoder = base.decoder
    assert isinstance(decoder, Decoder)
    x = {name: torch.randn(20, group.weight.shape[1]).to(dtype) for name, group in decoder.groups.items()}
    exact = {name: group.weight.forward(x[name]) for name, group in decoder.groups.items()}
    base.compute_as_declared()
    assert base.compute == "int8"
    for layer in decoder.layers:
        for name, group in layer.groups.items():
            held = layer._rounded[name]
            assert isinstance(held, Int8Weight)
            assert relative_difference(held.forward(x[name]), exact[name]) < 2 * NEAR
            assert torch.equal(group.weight.forward(x[name]), exact[name])
            for module in group.columns:
                own = base.model.get_submodule(module)
                assert own.state.CB.untyped_storage().data_ptr() == held.int8_NK.untyped_storage().data_ptr()
                assert own.weight.data_ptr() == own.state.CB.data_ptr()
    rows = make_rows(12, seed=5)
    losses = train(base, [make_trainee(base, "job", make_spec(), rows)], 6)["job"]
    assert losses[-1] < losses[0]


def test_a_device_without_fast_products_computes_in_the_base_s_own_type(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Int8Weight, "is_fast_on", lambda _device: False)
    base = ResidentBase(TINY.model_copy(update={"compute": "int8"}), tiny_folder, "", CPU)
    with capture_logs() as log:
        base.compute_as_declared()
    assert base.compute is None
    assert [entry["event"] for entry in log] == ["int8_not_computed"]


def test_without_a_compiler_pytorch_rounds_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    x_TK = torch.randn(5, 40)
    expected = quantise_rows(x_TK)
    monkeypatch.setattr(int8_rows, "library", lambda *_: None)
    found = quantise_rows(x_TK)
    assert isinstance(found, Rows)
    assert torch.allclose(found.scale_T, expected.scale_T)
    assert relative_difference(found.q_TK, expected.q_TK) < 1e-2
