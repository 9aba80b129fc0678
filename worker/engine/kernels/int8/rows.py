"""Rounds the rows of a matrix to 8 bits, and turns the products of such rows back into numbers.

    x ≈ scale q + offset,   scale = (max x - min x) / 255,   offset = min x + 128 scale

Each row has its own scale and offset, so the result of a token does not depend on the tokens beside it. C
computes this where a compiler is at hand, else the plain twins do.
"""

from ctypes import CDLL, c_int64, c_void_p
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from worker.engine.native.build import library

SOURCE = Path(__file__).with_name("rows.c")
LOWEST = -128  # of a byte with a sign


class Rows(NamedTuple):
    """Rounded rows: q [T, K] in int8, with the scale [T] and the offset [T] of each row in fp32."""

    q_TK: Tensor
    scale_T: Tensor
    offset_T: Tensor


def quantise_rows(x_TK: Tensor, weight_K: Tensor | None = None) -> Rows:
    """Return the rows of x, times `weight_K` (fp32), in 8 bits. NaN or infinity makes a row's scale NaN."""
    built = _built(x_TK.dtype)
    if built is None:
        return quantise_rows_plainly(x_TK, weight_K)
    x_TK = x_TK if x_TK.stride(1) == 1 else x_TK.contiguous()
    tokens, inputs = x_TK.shape
    rows = Rows(torch.empty(x_TK.shape, dtype=torch.int8), torch.empty(tokens), torch.empty(tokens))
    built.quantise_rows(
        *(c_void_p(x_TK.data_ptr()), _pointer(weight_K)),
        *map(c_int64, (tokens, inputs, x_TK.stride(0))),
        *(c_void_p(part.data_ptr()) for part in rows),
        c_int64(torch.get_num_threads()),
    )
    return rows


def rescale_rows(
    product_TN: Tensor,
    rows: Rows,
    scale_N: Tensor | None,
    sums_N: Tensor,
    bias_N: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """Return y_TN = scale_T product scale_N + offset_T sums + bias in `dtype`.

    `product_TN` is q Qᵀ in int32, and all else is in fp32. The rows of W = Q scale_N have the sums `sums_N`.
    """
    built = _built(dtype)
    if built is None:
        return rescale_rows_plainly(product_TN, rows, scale_N, sums_N, bias_N, dtype)
    y_TN = torch.empty(product_TN.shape, dtype=dtype)
    built.rescale_rows(
        *map(_pointer, (product_TN, rows.scale_T, rows.offset_T, scale_N, sums_N, bias_N)),
        *map(c_int64, product_TN.shape),
        c_void_p(y_TN.data_ptr()),
        c_int64(torch.get_num_threads()),
    )
    return y_TN


def quantise_rows_plainly(x_TK: Tensor, weight_K: Tensor | None = None) -> Rows:
    """Return the same as `quantise_rows`."""
    x_TK = x_TK.float() if weight_K is None else x_TK.float() * weight_K
    low_T1, high_T1 = x_TK.amin(1, keepdim=True), x_TK.amax(1, keepdim=True)
    step_T1 = (high_T1 - low_T1) / 255
    per_step_T1 = torch.where(step_T1 > 0, 1 / step_T1, 0)
    from_low_TK = ((x_TK - low_T1) * per_step_T1 + 0.5).floor().nan_to_num().clamp(0, 255)
    odd_T1 = (x_TK - x_TK).sum(1, keepdim=True)
    offset_T1 = low_T1 - LOWEST * step_T1 + odd_T1
    return Rows((from_low_TK + LOWEST).to(torch.int8), (step_T1 + odd_T1)[:, 0], offset_T1[:, 0])


def rescale_rows_plainly(
    product_TN: Tensor,
    rows: Rows,
    scale_N: Tensor | None,
    sums_N: Tensor,
    bias_N: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """Return the same as `rescale_rows`."""
    y_TN = product_TN * rows.scale_T[:, None] * (1 if scale_N is None else scale_N)
    y_TN = y_TN + rows.offset_T[:, None] * sums_N
    return (y_TN if bias_N is None else y_TN + bias_N).to(dtype)


def _built(dtype: torch.dtype) -> CDLL | None:
    return library(SOURCE, dtype == torch.bfloat16)


def _pointer(tensor: Tensor | None) -> c_void_p:
    return c_void_p(None if tensor is None else tensor.data_ptr())
