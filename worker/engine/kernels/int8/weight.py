"""A frozen weight whose two products are taken in 8 bits.

W [N, K] is rounded to int8 with one scale for each output, and each row of the inputs to u8 with a scale and
an offset of its own (`rows.py`):

    y  = x Wᵀ ≈ scale ((q - 128) Qᵀ s_N) + offset (Σ_k Q s_N),   W ≈ s_N Q
    dx = dy W ≈ the same, of (dy s_N) and Qᵀ: there the weight's scales belong to the summed axis

oneDNN multiplies u8 by int8 and sums in int32. It packs Q for each of the two products, so that both copies
together take as much memory as W in bf16.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from worker.engine.kernels.int8.rows import MIDDLE, quantise_rows, rescale_rows

LARGEST = 127
PACKED_FOR = 512  # tokens; the form of the packed weight hardly depends on them


def has_fast_int8(device: torch.device) -> bool:
    """Return whether the device multiplies 8-bit integers faster than bf16: a CPU with VNNI."""
    return device.type == "cpu" and torch.cpu._is_vnni_supported()


@dataclass(frozen=True)
class Packed:
    """Int8 numbers Q [N, K], packed for products with rows of K bytes.

    `scale_N` scales each output, and `sums_N` has the product of a row of ones.
    """

    packed: Tensor
    scale_N: Tensor
    zero_N: Tensor
    sums_N: Tensor

    @classmethod
    def of(cls, int8_NK: Tensor, scale_N: Tensor) -> Self:
        operations: Any = torch.ops.onednn
        packed = operations.qlinear_prepack(int8_NK.contiguous(), [PACKED_FOR, int8_NK.shape[1]])
        sums_N = int8_NK.sum(1, dtype=torch.int32).float() * scale_N
        return cls(packed, scale_N, torch.zeros(len(scale_N), dtype=torch.int32), sums_N)

    def product(self, x_TK: Tensor, weight_K: Tensor | None = None, bias_N: Tensor | None = None) -> Tensor:
        """Return (x weight) Qᵀ scale + bias, [T, N], in x's type."""
        rows = quantise_rows(x_TK, weight_K)
        operations: Any = torch.ops.onednn
        product_TN = operations.qlinear_pointwise(
            *(rows.q_TK, 1.0, MIDDLE, self.packed, self.scale_N, self.zero_N),
            *(None, 1.0, 0, torch.float32, "none", [], ""),
        )
        return rescale_rows(product_TN, rows, self.sums_N, bias_N, x_TK.dtype)


@dataclass(frozen=True)
class Int8Weight:
    """A `FrozenWeight` in 8 bits, packed for both products."""

    shape: tuple[int, int]
    outward: Packed
    backward_scale_N: Tensor
    inward: Packed
    bias_N: Tensor | None = None

    @classmethod
    def of(cls, weight_NK: Tensor, bias_N: Tensor | None = None) -> Self:
        """Return the weight rounded to 8 bits: its largest number in each row becomes 127."""
        scale_N = weight_NK.abs().amax(1).float().clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
        return cls.of_int8((weight_NK.float() / scale_N[:, None]).round().to(torch.int8), scale_N, bias_N)

    @classmethod
    def of_int8(cls, int8_NK: Tensor, scale_N: Tensor, bias_N: Tensor | None = None) -> Self:
        """Return the weight `int8_NK` times `scale_N`."""
        outputs, inputs = int8_NK.shape
        outward = Packed.of(int8_NK, scale_N)
        inward = Packed.of(int8_NK.T, torch.ones(inputs))
        return cls((outputs, inputs), outward, scale_N, inward, None if bias_N is None else bias_N.float())

    def forward(self, x_TK: Tensor) -> Tensor:
        return self.outward.product(x_TK, bias_N=self.bias_N)

    def backward(self, dy_TN: Tensor) -> Tensor:
        return self.inward.product(dy_TN, self.backward_scale_N)
