"""Calls a causal convolution in C (`convolution.c`).

The arguments are those of `kernels/states/convolution.py`.
"""

from ctypes import CDLL, Structure, byref, c_int64

import torch
from torch import Tensor

from worker.engine.kernels.in_c.calls import kernel, pointers, threads

SIZE = 16  # there is a multiple of so many channels


class _Shape(Structure):
    _fields_ = tuple((name, c_int64) for name in ("tokens", "inputs", "channels", "width", "x_token", "silu"))


def can_convolve(x_TK: Tensor) -> bool:
    """Return whether C computes so many channels, which lie side by side."""
    whole = x_TK.shape[1] % SIZE == 0 and x_TK.stride(1) == 1
    return whole and kernel("convolution", x_TK) is not None


def convolved(x_TK: Tensor, seen_TW: Tensor, weight_KW: Tensor, bias_K: Tensor | None, silu: bool) -> Tensor:
    """Return the convolution of each channel, [T, K], with SiLU behind it or not."""
    y_TK = x_TK.new_empty(len(seen_TW), x_TK.shape[1])
    given = _given(seen_TW, weight_KW, bias_K)
    _built(x_TK).values(
        *pointers(x_TK), byref(_shape(x_TK, seen_TW, silu)), *pointers(*given, y_TK), threads()
    )
    return y_TK


def gradient(
    dy_TK: Tensor, x_TK: Tensor, seen_TW: Tensor, weight_KW: Tensor, bias_K: Tensor | None, silu: bool
) -> Tensor:
    """Return the gradient of x, whose rows are those of the tokens."""
    dy_TK, dx_TK = dy_TK.to(x_TK.dtype).contiguous(), torch.empty(x_TK.shape, dtype=torch.float32)
    given = _given(seen_TW, weight_KW, bias_K)
    _built(x_TK).gradient(
        *pointers(x_TK),
        byref(_shape(x_TK, seen_TW, silu)),
        *pointers(*given, dy_TK, dx_TK),
        threads(),
    )
    return dx_TK.to(x_TK.dtype)


def _built(x_TK: Tensor) -> CDLL:
    built = kernel("convolution", x_TK)
    assert built is not None
    return built


def _shape(x_TK: Tensor, seen_TW: Tensor, silu: bool) -> _Shape:
    return _Shape(len(seen_TW), *x_TK.shape, seen_TW.shape[1], x_TK.stride(0), silu)


def _given(seen_TW: Tensor, weight_KW: Tensor, bias_K: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return what C reads beside x: the places, and the weights from the token itself backwards."""
    weights_WK = weight_KW.flip(1).T.float().contiguous()
    return seen_TW, weights_WK, None if bias_K is None else bias_K.float().contiguous()
