"""The kernels in C against their twins in PyTorch, at widths that are not multiples of a vector."""

import math
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CDLL

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, get_4bit_type, quantize_4bit
from torch import Tensor

from tests.fixtures.engine.twins import (
    DTYPES,
    FOREST,
    TOLERANCE,
    assert_twins_agree,
    relative_difference,
    rotation,
)
from worker.engine.kernels import attention, elementwise, loss
from worker.engine.kernels.in_c import attention as attention_in_c
from worker.engine.kernels.in_c import calls, nf4
from worker.engine.kernels.in_c import cross_entropy as cross_entropy_in_c
from worker.engine.kernels.in_c import elementwise as elementwise_in_c
from worker.engine.native.build import library


@contextmanager
def without_compiler() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "library", lambda *_: None)
        yield


def assert_equals_pytorch(
    dtype: torch.dtype, in_c: tuple[Tensor, ...] | None, twin: Callable[[], object]
) -> None:
    assert in_c is not None
    with without_compiler():
        expected = twin()
    for ours, plain in zip(in_c, expected, strict=True):  # type: ignore[call-overload]
        assert ours.dtype == plain.dtype
        assert relative_difference(ours, plain) < TOLERANCE[dtype]


@DTYPES
@pytest.mark.parametrize("width", [5, 32, 101])
def test_gate(dtype: torch.dtype, width: int) -> None:
    gate_up, dy = (10 * torch.randn(7, 2 * width)).to(dtype), torch.randn(7, width).to(dtype)
    values = elementwise_in_c.swiglu_values(gate_up)
    assert values is not None
    assert_equals_pytorch(dtype, (values,), lambda: (elementwise.swiglu_values(gate_up),))
    again = elementwise_in_c.swiglu_again(dy, gate_up)
    assert_equals_pytorch(dtype, again, lambda: elementwise.swiglu_again(dy, gate_up))


@DTYPES
@pytest.mark.parametrize("width", [5, 32, 101])
def test_norm(dtype: torch.dtype, width: int) -> None:
    x, dy = (torch.randn(7, width).to(dtype) for _ in range(2))
    weight = torch.rand(width).to(dtype)
    values = elementwise_in_c.rms_norm_values(x, weight, 1e-5)
    assert_equals_pytorch(dtype, values, lambda: elementwise.rms_norm_values(x, weight, 1e-5))
    assert values is not None
    dx = elementwise_in_c.rms_norm_gradient(dy, x, weight, values[1])
    assert dx is not None
    assert_equals_pytorch(dtype, (dx,), lambda: (elementwise.rms_norm_gradient(dy, x, weight, values[1]),))


@DTYPES
@pytest.mark.parametrize("words", [5, 101, 160])
def test_cross_entropy(dtype: torch.dtype, words: int) -> None:
    logits, labels, weights = (
        (4 * torch.randn(6, words)).to(dtype),
        torch.randint(0, words, (6,)),
        torch.rand(6),
    )
    labels[0] = logits[0].argmax()
    ours, plain = logits.clone(), logits.clone()
    found = cross_entropy_in_c.cross_entropy(ours, labels, weights, with_gradient=True)
    assert_equals_pytorch(dtype, found, lambda: loss.in_cache(plain, labels, weights, True))
    assert found is not None
    assert found[1][0]
    assert relative_difference(ours, plain) < TOLERANCE[dtype]
    untouched = logits.clone()
    cross_entropy_in_c.cross_entropy(untouched, labels, weights, with_gradient=False)
    assert torch.equal(untouched, logits)


def has_pairs() -> bool:
    built = calls.kernel("attention", torch.empty(0, dtype=torch.bfloat16))
    return built is not None and bool(built.has_pairs())


@pytest.mark.skipif(not has_pairs(), reason="this CPU does not multiply pairs of bf16")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("window", [None, 1, 7, 18])
def test_attention_with_prefixes_and_windows(
    threads: int, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[object] = []

    def watched(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            found.append(function(*arguments))
            return found[-1]

        return call

    for name in ("attended", "gradients"):
        monkeypatch.setattr(attention, name, watched(getattr(attention_in_c, name)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    rooms = attention_in_c._rooms
    monkeypatch.setattr(attention_in_c, "_rooms", lambda *of: rooms(*of).view(torch.float32).fill_(math.nan))
    torch.manual_seed(0)
    heads = attention.Heads(query=6, key=2, size=64)
    layout = attention.Layout(FOREST, heads, *rotation(FOREST, heads.size, torch.bfloat16), window=window)
    assert_twins_agree(
        torch.bfloat16,
        lambda qkv: attention.segment_attention(qkv, layout, heads.size**-0.5),
        lambda qkv: attention.segment_attention_plainly(qkv, layout, heads.size**-0.5),
        torch.randn(90, (6 + 2 * 2) * 64).bfloat16(),
    )
    assert found
    assert all(each is not None for each in found)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the target is one of x86-64")
def test_attention_in_bf16_needs_no_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every CPU multiplies pairs of bf16, and on those with AMX other products are faster."""

    def built_without_pairs(name: str, *_: Tensor) -> CDLL | None:
        return library(calls.HERE / f"{name}.c", True, "-march=x86-64-v3")

    monkeypatch.setattr(attention_in_c, "kernel", built_without_pairs)
    heads = attention.Heads(query=2, key=1, size=64)
    layout = attention.Layout(FOREST, heads, *rotation(FOREST, heads.size, torch.bfloat16))
    assert_twins_agree(
        torch.bfloat16,
        lambda qkv: attention.segment_attention(qkv, layout, heads.size**-0.5),
        lambda qkv: attention.segment_attention_plainly(qkv, layout, heads.size**-0.5),
        torch.randn(90, 4 * 64).bfloat16(),
    )


@DTYPES
@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_is_not_finite_is_not_hidden(dtype: torch.dtype, odd: float) -> None:
    x = torch.randn(3, 40).to(dtype)
    x[1, 5] = odd
    values, _ = elementwise.rms_norm_values(x, torch.ones(40).to(dtype), 1e-5)
    nll, _ = loss.in_cache(x.clone(), torch.tensor([1, 2, 3]), torch.ones(3), True)
    gate = elementwise.swiglu_values(x)
    for found in (values.sum(1), nll, gate.sum(1)):
        assert found.isfinite().tolist() == [True, False, True]


@DTYPES
def test_nf4_is_that_of_bitsandbytes_to_the_bit(dtype: torch.dtype) -> None:
    """Also of zeros, of numbers that differ much in a block, and of those on a limit of two levels."""
    code = get_4bit_type("nf4", "cpu")
    bounds = (code[:-1] + code[1:]) / 2
    weight = (0.02 * torch.randn(24, 192)).to(dtype)
    weight[0], weight[1, ::7], weight[2], weight[3, 0] = 0, 1e30, 1e-39, -3e38
    weight[4, :15], weight[4, 63] = bounds.to(dtype), 1
    expected, state = quantize_4bit(weight, quant_type="nf4")
    assert nf4.can_quantise(weight, 64)
    packed, scales = nf4.quantised(weight, bounds, 64)
    assert torch.equal(packed, expected)
    assert torch.equal(scales, state.absmax)
    made = torch.empty_like(weight)
    assert nf4.can_dequantise(packed, scales, 64, made)
    nf4.dequantise(packed, scales, code, 64, made)
    assert torch.equal(made, dequantize_4bit(packed, state))


def test_only_whole_blocks_of_a_contiguous_tensor_are_left_to_c() -> None:
    weight = torch.randn(10, 64)
    assert nf4.can_quantise(weight, 64)
    assert not nf4.can_quantise(weight.T, 64)
    assert not nf4.can_quantise(weight[:, :60].contiguous(), 64)
    assert not nf4.can_quantise(weight.half(), 64)
    packed, scales = torch.empty(320, dtype=torch.uint8), torch.empty(10)
    assert nf4.can_dequantise(packed, scales, 64, weight)
    assert not nf4.can_dequantise(packed[:1], scales, 64, weight)
    for others in (scales[:9], torch.empty(11)):
        assert not nf4.can_dequantise(packed, others, 64, weight), "it would read or write beyond a tensor"
