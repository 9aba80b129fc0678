"""Products in fp8: near to exact ones, the same by `torch._scaled_mm` as by the twin, or refused."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.gpu_kernels import UNCOMPILED
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec, make_trainee, train
from tests.fixtures.engine.twins import DTYPES, relative_difference
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.fast import Decoder
from worker.engine.decoders.rounded_weight import rounded
from worker.engine.kernels import operations
from worker.engine.kernels.fp8 import weight as fp8_weight
from worker.engine.kernels.fp8.products import round_to_fp8
from worker.engine.kernels.fp8.weight import Fp8Weight, has_product
from worker.engine.kernels.frozen_weight import DenseWeight, product
from worker.engine.kernels.int8.weight import Int8Weight

CPU, GPU = torch.device("cpu"), torch.device("cuda")
AWAY = 1 / 16  # the most that a number moves, relative to itself
NEAR = 0.045  # of products: two factors that move by 0.026 each in the mean square, and the result's bf16
LOSS = 0.003  # relative, of six steps beside exact products
OF_BF16 = 1e-3  # twins may round a result to neighbouring numbers in bf16
needs_product = pytest.mark.skipif(not has_product(CPU), reason="PyTorch has no scaled product on this CPU")


@DTYPES
@pytest.mark.parametrize("weighted", [False, True])
def test_a_rounded_number_is_at_most_a_sixteenth_of_itself_away(dtype: torch.dtype, weighted: bool) -> None:
    x_TK, weight_K = torch.randn(7, 101).to(dtype), torch.rand(101) if weighted else None
    x_TK[2], x_TK[3] = 2.5, 0.0
    exact_TK = x_TK.float() * (1 if weight_K is None else weight_K)
    q_TK, scale_T = round_to_fp8(x_TK, weight_K)
    away_TK = (q_TK.float() * scale_T[:, None] - exact_TK).abs()
    smallest_T1 = scale_T[:, None] * 2**-10  # half of the step between the smallest numbers of e4m3
    assert (away_TK <= torch.maximum(AWAY * exact_TK.abs(), smallest_T1)).all()
    assert away_TK[3].sum() == 0


@DTYPES
def test_both_products_are_near_to_exact_ones(dtype: torch.dtype) -> None:
    x_TK, W_NK, bias_N = torch.randn(37, 576) + 0.5, torch.randn(96, 576) * torch.rand(96, 1), torch.randn(96)
    weight = Fp8Weight.of(W_NK.to(dtype), bias_N)
    assert weight.shape == (96, 576)
    x_TK = x_TK.to(dtype).requires_grad_()
    dy_TN = torch.randn(37, 96).to(dtype)
    y_TN = product(x_TK, weight)
    y_TN.backward(dy_TN)
    assert x_TK.grad is not None
    assert (y_TN.dtype, x_TK.grad.dtype) == (dtype, dtype)
    assert relative_difference(y_TN, x_TK.float() @ W_NK.T + bias_N) < NEAR
    assert relative_difference(x_TK.grad, dy_TN.float() @ W_NK) < NEAR


@needs_product
@DTYPES
@pytest.mark.parametrize("tokens", [1, 37])
def test_what_a_gpu_calls_multiplies_as_its_twin(tokens: int, dtype: torch.dtype) -> None:
    W_NK, bias_N = torch.randn(96, 160).to(dtype), torch.randn(96)
    ours, twin = Fp8Weight.of(W_NK, bias_N, UNCOMPILED), Fp8Weight.of(W_NK, bias_N)
    x_TK, dy_TN = torch.randn(tokens, 160).to(dtype), torch.randn(tokens, 96).to(dtype)
    assert relative_difference(ours.forward(x_TK), twin.forward(x_TK)) < OF_BF16
    assert relative_difference(ours.backward(dy_TN), twin.backward(dy_TN)) < OF_BF16


def test_a_token_is_rounded_by_itself() -> None:
    x_TK = torch.randn(50, 96) * torch.rand(50, 1)
    for ours, alone in zip(round_to_fp8(x_TK), round_to_fp8(x_TK[20:31]), strict=True):
        assert torch.equal(ours[20:31], alone)


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_is_not_finite_is_not_hidden(odd: float) -> None:
    x_TK = torch.randn(3, 64)
    x_TK[1, 5] = odd
    y_TN = Fp8Weight.of(torch.randn(32, 64)).forward(x_TK)
    assert y_TN[1].isnan().all()
    assert y_TN[[0, 2]].isfinite().all()


def test_a_training_in_fp8_learns_as_an_exact_one(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fp8Weight, "is_fast_on", lambda _device: True)
    rows = make_rows(12, seed=5)
    losses = []
    for compute in (None, "fp8"):
        base = ResidentBase(TINY.model_copy(update={"compute": compute}), tiny_folder, "", CPU)
        base.compute_as_declared()
        assert base.compute == compute
        losses.append(train(base, [make_trainee(base, "job", make_spec(), rows)], 6)["job"])
    exact, found = (torch.tensor(each) for each in losses)
    assert exact[-1] < exact[0]
    assert not torch.equal(exact, found)
    assert ((found - exact).abs() < LOSS * exact).all()


@pytest.mark.parametrize("quantization", [None, "nf4", "int8"])
def test_a_base_that_cannot_compute_in_fp8_says_so(
    quantization: str | None, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU cannot, and weights that are held in 4 or 8 bits are not rounded again, even on a GPU."""
    monkeypatch.setattr(Int8Weight, "is_fast_on", lambda _device: False)
    if quantization:
        monkeypatch.setattr(Fp8Weight, "is_fast_on", lambda _device: True)
    entry = TINY.model_copy(update={"compute": "fp8", "quantization": quantization})
    base = ResidentBase(entry, tiny_folder, "", CPU)
    with capture_logs() as log:
        base.compute_as_declared()
    assert base.compute is None
    assert isinstance(base.decoder, Decoder)
    held = [group.weight for group in base.decoder.groups.values()]
    assert not quantization or [rounded(weight, "fp8") for weight in held] == [None] * len(held)
    assert [(entry["event"], entry["effect"]) for entry in log] == [
        ("fp8_not_computed", f"it computes in {base.dtype}")
    ]


@pytest.mark.parametrize(
    ("capability", "compiles", "multiplies", "expected"),
    [
        ((8, 9), True, True, True),
        ((9, 0), True, True, True),
        ((12, 0), True, True, True),
        ((8, 6), True, True, False),
        ((9, 0), False, True, False),
        ((12, 0), True, False, False),
    ],
)
def test_a_gpu_takes_fp8_from_ada_on_if_it_has_a_compiler_and_the_product(
    capability: tuple[int, int],
    compiles: bool,
    multiplies: bool,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    monkeypatch.setattr(fp8_weight, "can_compile", lambda: compiles)
    monkeypatch.setattr(fp8_weight, "has_product", lambda _device: multiplies)
    assert Fp8Weight.is_fast_on(GPU) == expected
    assert not Fp8Weight.is_fast_on(CPU)


@pytest.mark.parametrize("error", [RuntimeError, ValueError, NotImplementedError])
def test_a_build_without_the_product_is_found_out(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Tensor:
        raise error("Rowwise scaling is not currently supported on your device")

    monkeypatch.setattr(torch, "_scaled_mm", refuse)
    assert not has_product(CPU)


@pytest.mark.parametrize(("shape", "fits"), [((32, 48), True), ((24, 48), False), ((32, 40), False)])
def test_a_width_that_tensor_cores_do_not_take_keeps_its_exact_products(
    shape: tuple[int, int], fits: bool
) -> None:
    weight = DenseWeight(torch.randn(shape))
    assert isinstance(rounded(weight, "fp8"), Fp8Weight) == fits
    assert isinstance(rounded(weight, "int8"), Int8Weight)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_the_rounding_is_one_graph_for_all_lengths_and_one_more_for_all_widths(weighted: bool) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled: Callable[..., Any] = operations.on_gpu(
        partial(torch.compile, backend=counter, fullgraph=True)
    ).round_to_fp8
    for width in (64, 96, 160, 48, 80):
        weight_K = torch.rand(width) if weighted else None
        for tokens in (300, 17, 640):
            x_TK = torch.randn(tokens, width)
            for ours, plain in zip(compiled(x_TK, weight_K), round_to_fp8(x_TK, weight_K), strict=True):
                assert torch.equal(ours.float(), plain.float())
    assert counter.frame_count == 2
