"""A frozen weight whose two products are taken in 8 bits.

W [N, K] is rounded to int8 with one scale for each output, and each row of the inputs to int8 with a scale
and an offset of its own (`rows.py`):

    y  = x Wᵀ ≈ scale_T (q Qᵀ) scale_N + offset_T (Σ_k Q scale_N),   W ≈ scale_N Q
    dx = dy W ≈ scale_T (q Q) + offset_T (Σ_n Q),                    q of the rows of dy scale_N

The product is exact in int32. The same Q serves both products, so W takes half of its memory in bf16.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from worker.engine.kernels.int8.rows import quantise_rows, rescale_rows

LARGEST = 127


@dataclass(frozen=True)
class Int8Weight:
    """A `RoundedWeight` in int8. `sums_N` and `sums_K` are the sums in the formulas above, in fp32."""

    multiple_of: ClassVar[int] = 1

    int8_NK: Tensor
    scale_N: Tensor
    sums_N: Tensor
    sums_K: Tensor
    bias_N: Tensor | None = None

    @classmethod
    def is_fast_on(cls, device: torch.device) -> bool:
        """Return whether the device multiplies 8-bit integers faster than bf16: a CPU with VNNI."""
        return device.type == "cpu" and torch.cpu._is_vnni_supported()

    @classmethod
    def of(cls, weight_NK: Tensor, bias_N: Tensor | None = None) -> Self:
        """Return the weight rounded to 8 bits: its largest number in each row becomes 127."""
        scale_N = weight_NK.abs().amax(1).float().clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
        return cls.of_int8((weight_NK.float() / scale_N[:, None]).round().to(torch.int8), scale_N, bias_N)

    @classmethod
    def of_int8(cls, int8_NK: Tensor, scale_N: Tensor, bias_N: Tensor | None = None) -> Self:
        """Return the weight `int8_NK` times `scale_N`."""
        scale_N = scale_N.float()
        sums_N, sums_K = (int8_NK.sum(axis, dtype=torch.int32).float() for axis in (1, 0))
        bias_N = None if bias_N is None else bias_N.float()
        return cls(int8_NK.contiguous(), scale_N, sums_N * scale_N, sums_K, bias_N)

    @property
    def shape(self) -> tuple[int, int]:
        outputs, inputs = self.int8_NK.shape
        return outputs, inputs

    def forward(self, x_TK: Tensor) -> Tensor:
        rows = quantise_rows(x_TK)
        product_TN = torch._int_mm(rows.q_TK, self.int8_NK.T)
        return rescale_rows(product_TN, rows, self.scale_N, self.sums_N, self.bias_N, x_TK.dtype)

    def backward(self, dy_TN: Tensor) -> Tensor:
        rows = quantise_rows(dy_TN, self.scale_N)
        product_TK = torch._int_mm(rows.q_TK, self.int8_NK)
        return rescale_rows(product_TK, rows, None, self.sums_K, None, dy_TN.dtype)
