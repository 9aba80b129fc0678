"""Activations that wait for the backward pass in bf16, where fp32 was chosen for its speed alone."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.gpu_kernels import HEADS, train_two, tree
from tests.fixtures.engine.twins import relative_difference, rotation
from worker.engine.base import loading
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.fast import Decoder
from worker.engine.kernels import attention, projection
from worker.engine.kernels.frozen_weight import DenseWeight
from worker.engine.kernels.saved_in_bf16 import saved_in_bf16

CPU = torch.device("cpu")


def saved_by_squaring(x: Tensor) -> Tensor:
    """What autograd hands back, since the gradient of x² is 2 x."""
    with saved_in_bf16():
        y = x.requires_grad_().square()
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return gradient / 2


def test_matrices_of_fp32_are_rounded_while_they_wait() -> None:
    x = torch.randn(3, 5)
    assert torch.equal(saved_by_squaring(x), x.bfloat16().float())


@pytest.mark.parametrize(
    "x",
    [torch.randn(7, 1), torch.randn(7), torch.randn(7, 5).double()],
    ids=["a number for each token", "a vector", "fp64"],
)
def test_what_takes_no_room_and_other_types_are_left_as_they_are(x: Tensor) -> None:
    assert torch.equal(saved_by_squaring(x), x)


def test_the_frozen_weights_are_never_rounded() -> None:
    x_TK, W = torch.randn(5, 8, requires_grad=True), DenseWeight(torch.randn(7, 8))
    with saved_in_bf16():
        y_TN = projection.project(x_TK, W, [])
    (dx_TK,) = torch.autograd.grad(y_TN.sum(), x_TK)
    assert torch.equal(dx_TK, W.backward(torch.ones_like(y_TN)))


@pytest.mark.parametrize(("saved_length", "exact"), [(0, True), (1024, False)])
def test_probabilities_that_are_computed_again_are_those_of_the_forward_pass(
    saved_length: int, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "SAVED_KEYS", saved_length)
    segments = tree(20, 30, 10)
    qkv_TN = torch.randn(60, (HEADS.query + 2 * HEADS.key) * HEADS.size, requires_grad=True)
    given_TD = torch.randn(60, HEADS.query * HEADS.size)

    def gradient() -> Tensor:
        layout = attention.Layout(segments, HEADS, *rotation(segments, HEADS.size, torch.float32))
        attended_TD = attention.segment_attention(qkv_TN, layout, HEADS.size**-0.5)
        return torch.autograd.grad(attended_TD, qkv_TN, grad_outputs=given_TD)[0]

    with saved_in_bf16():
        attended_again = gradient()
    assert (relative_difference(attended_again, gradient()) < 1e-6) is exact


@pytest.mark.parametrize(
    ("dtype", "least", "most"),
    [("auto", 1e-5, 1e-2), ("fp32", 0, 0)],
    ids=["fp32 that the device chose", "fp32 that was declared"],
)
def test_only_gradients_know_of_it_and_only_where_nobody_declared_fp32(
    dtype: Literal["auto", "fp32"],
    least: float,
    most: float,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "compute_dtype", lambda _device: torch.float32)
    base = ResidentBase(TINY.model_copy(update={"dtype": dtype}), tiny_folder, "", CPU)
    losses, adapters = train_two(base)
    base.decoder = Decoder(base.model)
    exact_losses, exact_adapters = train_two(base)
    for name, expected in exact_losses.items():
        assert losses[name][0] == expected[0]  # before any gradient
        assert losses[name] == pytest.approx(expected, rel=1e-3)
    for ours, exact in zip(adapters, exact_adapters, strict=True):
        assert least <= relative_difference(ours, exact) <= most
