"""Rounds the rows of a matrix to e4m3, and multiplies rounded rows by a rounded weight.

    x ≈ scale q,   scale = max |x| / 448

e4m3 has 4 bits of exponent and 3 of mantissa (Micikevicius et al. 2022, arXiv:2209.05433). So a number is at
most 1/16 of itself away, unless it is less than 1/28,672 of the row's largest one. Each row has its own
scale, so a token's numbers do not depend on the tokens beside it. `operations.py` chooses the functions: a
GPU multiplies in its tensor cores, and the twin on a CPU multiplies the same numbers in fp32.
"""

from typing import NamedTuple

import torch
from torch import Tensor

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max
SMALLEST_SCALE = torch.finfo(torch.float32).tiny


class Fp8Rows(NamedTuple):
    """Rounded rows: q [T, K] in e4m3, with the scale [T] of each row in fp32."""

    q_TK: Tensor
    scale_T: Tensor


def round_to_fp8(x_TK: Tensor, weight_K: Tensor | None = None) -> Fp8Rows:
    """Return the rows of x, times `weight_K` (fp32), in e4m3. NaN or infinity makes a row's scale odd too."""
    x_TK = x_TK.float() if weight_K is None else x_TK.float() * weight_K
    scale_T1 = (x_TK.abs().amax(1, keepdim=True) / LARGEST).clamp(min=SMALLEST_SCALE)
    return Fp8Rows((x_TK / scale_T1).to(FP8).contiguous(), scale_T1[:, 0])


def fp8_product(x: Fp8Rows, weight_NK: Tensor, scale_N: Tensor, bias_N: Tensor | None) -> Tensor:
    """Return y_TN = scale_T (q Wᵀ) scale_N + bias in bf16, by the tensor cores.

    The weight is in e4m3 and contiguous, its scales in fp32 and its bias in bf16. K and N must be multiples
    of 16. Raises RuntimeError or ValueError if this build of PyTorch has no such product for the device.
    """
    return torch._scaled_mm(
        x.q_TK, weight_NK.T, x.scale_T[:, None], scale_N[None], bias=bias_N, out_dtype=torch.bfloat16
    )


def fp8_product_plainly(x: Fp8Rows, weight_NK: Tensor, scale_N: Tensor, bias_N: Tensor | None) -> Tensor:
    """Return the same as `fp8_product`, on any device and for any K and N."""
    y_TN = x.q_TK.float() @ weight_NK.float().T * x.scale_T[:, None] * scale_N
    return (y_TN if bias_N is None else y_TN + bias_N).bfloat16()
