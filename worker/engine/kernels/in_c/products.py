"""Calls products in fp32 (`products.c`) whose bits are those of the sampler's step in C.

Each function returns None where C cannot compute it. K is the axis of the sums.
"""

from ctypes import CDLL, Structure, byref, c_int64

import torch
from torch import Tensor

from worker.engine.kernels.in_c.calls import kernel, pointers, threads

LANES = 16  # numbers of a vector
OF_ROWS = 1024  # of a weight's rows, so many numbers are summed at once: DECODED in the sampler's `weights.h`
WHOLE = 1 << 40


class _Sizes(Structure):
    _fields_ = tuple((name, c_int64) for name in ("rows", "K", "columns", "x_step", "w_step", "y_step"))


def product(x_TK: Tensor, W_NK: Tensor) -> Tensor | None:
    """Return x Wᵀ, [T, N], in the order of how W lies in memory: as [K, N] or as [N, K]."""
    if W_NK.dim() != 2 or W_NK.stride(0) != 1:
        return dots(x_TK, W_NK, OF_ROWS)
    if _built(x_TK, W_NK.T) is None:
        return None
    return added(x_TK.new_zeros(len(x_TK), len(W_NK)), x_TK, W_NK.T)


def added(y_TN: Tensor, x_TK: Tensor, W_KN: Tensor) -> Tensor | None:
    """Add x W to y in place, one k after the other, and return y."""
    if (built := _built(y_TN, x_TK, W_KN)) is None:
        return None
    sizes = _Sizes(*x_TK.shape, W_KN.shape[1], x_TK.stride(0), W_KN.stride(0), y_TN.stride(0))
    panels = x_TK.new_empty(torch.get_num_threads(), len(W_KN), built.panel_columns())
    built.add_products(*pointers(x_TK, W_KN), byref(sizes), *pointers(y_TN, panels), threads())
    return y_TN


def dots(x_TK: Tensor, W_NK: Tensor, at_once: int = WHOLE) -> Tensor | None:
    """Return x Wᵀ, [T, N]. Each number is the sum of dot products of `at_once` numbers."""
    if x_TK.dim() != 2 or x_TK.shape[1] % LANES or (built := _built(x_TK, W_NK)) is None:
        return None
    y_TN = x_TK.new_empty(len(x_TK), len(W_NK))
    sizes = _Sizes(*x_TK.shape, len(W_NK), x_TK.stride(0), W_NK.stride(0), y_TN.stride(0))
    built.dot_products(*pointers(x_TK, W_NK), byref(sizes), c_int64(at_once), *pointers(y_TN), threads())
    return y_TN


def _built(*tensors: Tensor) -> CDLL | None:
    """Return the kernels if each tensor is a matrix in fp32 whose rows lie in memory as wholes."""
    if any(x.dtype is not torch.float32 or x.dim() != 2 or x.stride(1) != 1 for x in tensors):
        return None
    return kernel("products", *tensors)
