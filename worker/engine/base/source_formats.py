"""How files hold weights in FP8 and in mxfp4, and the weights that these stand for.

A weight is computed in parts, so that beside the result no copy of it exists in another type.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from core.base_files.loadable import QuantisedSource

ROWS = 1024  # of an FP8 weight without blocks that are computed at once
EXPONENT_BIAS = 127  # of scales that are exponents of 2, in a byte

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Fp8:
    """e4m3 numbers, with one scale for each block, or for the whole weight.

    The names of both tensors, and of those that only products in FP8 need, have these endings.
    """

    block: tuple[int, int] | None

    numbers = ""
    scales = "_scale_inv"
    beside: tuple[str, ...] = (".activation_scale", ".input_scale")

    def shape(self, of_numbers: Shape) -> Shape:
        """Return the weight's shape by that of its numbers."""
        return of_numbers

    def weight(self, numbers: Any, scales: Any, dtype: torch.dtype) -> Tensor:
        """Return the weight. Both tensors are slices of a file, which are read by indexing."""
        held, factors = numbers[...], _as_numbers(scales[...])
        if held.dtype not in (torch.float8_e4m3fn, torch.float8_e5m2):
            raise ValueError(f"a weight with scales of FP8 is in {held.dtype}")
        made = torch.empty(held.shape, dtype=dtype)
        for out_NK, held_NK, factor in _matrices(made, held, factors):
            self._write(out_NK, held_NK, factor)
        return made

    def _write(self, out_NK: Tensor, held_NK: Tensor, factors: Tensor) -> None:
        if factors.numel() == 1 or self.block is None:
            rows = factors.reshape(-1, 1).expand(len(held_NK), 1)
            parts = zip(out_NK.split(ROWS), held_NK.split(ROWS), rows.split(ROWS), strict=True)
        else:
            height, width = self.block
            columns = (row.repeat_interleave(width)[: held_NK.shape[1]] for row in factors)
            parts = zip(out_NK.split(height), held_NK.split(height), columns, strict=True)
        for out, held, factor in parts:
            out.copy_(held.float().mul_(factor))


@dataclass(frozen=True)
class Mxfp4:
    """Stacks of experts in 4 bits, with an exponent of 2 for each 32 (Rouhani et al. 2023, arXiv:2310.10537).

    The file has them as [E, N, G, 16] bytes; the weight is [E, 32 G, N].
    """

    numbers = "_blocks"
    scales = "_scales"
    beside: tuple[str, ...] = ()

    def shape(self, of_numbers: Shape) -> Shape:
        """Return the weight's shape by that of its numbers."""
        E, N, G, half = of_numbers
        return E, G * half * 2, N

    def weight(self, numbers: Any, scales: Any, dtype: torch.dtype) -> Tensor:
        """Return the weight. Both tensors are slices of a file, which are read by indexing."""
        made_EKN = torch.empty(self.shape(tuple(numbers.get_shape())), dtype=dtype)
        for expert, out_KN in enumerate(made_EKN):
            part = slice(expert, expert + 1)
            out_KN.copy_(convert_moe_packed_tensors(numbers[part], scales[part], dtype=dtype)[0])
        return made_EKN


SourceFormat = Fp8 | Mxfp4


def format_of(quantised: QuantisedSource) -> SourceFormat:
    """Return the format of a source whose weights can be computed."""
    return Mxfp4() if quantised.method == "mxfp4" else Fp8(quantised.block)


def _matrices(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the matrices of stacked weights, with the scales of each."""
    made, _, factors = tensors
    if made.ndim == 2:
        yield tensors
        return
    spread = factors.expand(len(made)) if factors.ndim < 1 or factors.numel() == 1 else factors
    for matrices in zip(made, tensors[1], spread, strict=True):
        yield from _matrices(*matrices)


def _as_numbers(scales: Tensor) -> Tensor:
    """Return scales in fp32. Bytes are exponents of 2."""
    return (scales.float() - EXPONENT_BIAS).exp2() if scales.dtype == torch.uint8 else scales.float()
