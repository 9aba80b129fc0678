"""A frozen weight whose two products are taken in fp8.

W [N, K] is rounded to e4m3 with one scale for each output, and each row of the inputs with a scale of its
own (`products.py`):

    y  = x Wᵀ ≈ scale_T (q Qᵀ) scale_N,   W ≈ scale_N Q
    dx = dy W ≈ scale_T (q Q),            q of the rows of dy scale_N

Gradients are rounded to e4m3 too. The scale of its row already gives a gradient its range, so the third bit
of e4m3's mantissa is worth more than the fifth bit of e5m2's exponent.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from worker.engine.kernels.fp8.products import fp8_product, round_to_fp8
from worker.engine.kernels.operations import Operations, can_compile, operations_on

FIRST_CAPABILITY = (8, 9)  # Ada; Hopper and Blackwell are later


@dataclass(frozen=True)
class Fp8Weight:
    """A `RoundedWeight` in e4m3.

    Tensor cores before Blackwell's take a factor in e4m3 only if the summed axis is the last one in memory.
    So Q lies in memory in both orders, one for each product.
    """

    multiple_of: ClassVar[int] = 16

    e4m3_NK: Tensor
    e4m3_KN: Tensor
    scale_N: Tensor
    ones_K: Tensor
    bias_N: Tensor | None
    operations: Operations

    @classmethod
    def is_fast_on(cls, device: torch.device) -> bool:
        """Return whether the device multiplies fp8 faster than bf16: a GPU from Ada on, with a compiler.

        Without a compiler, rounding would take several kernels, and as long as the product saves.
        """
        if device.type != "cuda" or torch.cuda.get_device_capability(device) < FIRST_CAPABILITY:
            return False
        return can_compile() and has_product(device)

    @classmethod
    def of(
        cls, weight_NK: Tensor, bias_N: Tensor | None = None, operations: Operations | None = None
    ) -> Self:
        """Return the weight rounded to e4m3: its largest number in each row becomes 448."""
        e4m3_NK, scale_N = round_to_fp8(weight_NK)
        return cls(
            e4m3_NK,
            e4m3_NK.T.contiguous(),
            scale_N,
            torch.ones(weight_NK.shape[1], device=weight_NK.device),
            None if bias_N is None else bias_N.bfloat16(),
            operations or operations_on(weight_NK.device),
        )

    @property
    def shape(self) -> tuple[int, int]:
        outputs, inputs = self.e4m3_NK.shape
        return outputs, inputs

    def forward(self, x_TK: Tensor) -> Tensor:
        rows = self.operations.round_to_fp8(x_TK, None)
        return self.operations.fp8_product(rows, self.e4m3_NK, self.scale_N, self.bias_N).to(x_TK.dtype)

    def backward(self, dy_TN: Tensor) -> Tensor:
        rows = self.operations.round_to_fp8(dy_TN, self.scale_N)
        return self.operations.fp8_product(rows, self.e4m3_KN, self.ones_K, None).to(dy_TN.dtype)


def has_product(device: torch.device) -> bool:
    """Try a small product, because not every build of PyTorch has it for every GPU."""
    some = round_to_fp8(torch.ones(16, 16, device=device))
    try:
        fp8_product(some, some.q_TK, some.scale_T, None)
    except (RuntimeError, ValueError):
        return False
    return True
