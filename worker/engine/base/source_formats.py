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
        N, K = held_NK.shape
        if factors.numel() == 1 or (self.block is None and factors.shape in ((N,), (N, 1))):
            rows = factors.reshape(-1, 1).expand(N, 1)
            parts = zip(out_NK.split(ROWS), held_NK.split(ROWS), rows.split(ROWS), strict=True)
        elif self.block is not None and factors.shape == self._blocks(N, K):
            height, width = self.block
            columns = (row.repeat_interleave(width)[:K] for row in factors)
            parts = zip(out_NK.split(height), held_NK.split(height), columns, strict=True)
        else:
            raise _unfit(held_NK, factors)
        for out, held, factor in parts:
            out.copy_(held.float().mul_(factor))

    def _blocks(self, N: int, K: int) -> Shape:
        """Return how many blocks a weight has along its outputs and its inputs."""
        assert self.block is not None
        return tuple(-(-size // side) for size, side in zip((N, K), self.block, strict=True))


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


def _matrices(made: Tensor, held: Tensor, factors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the matrices of a stack of weights, such as experts, with the scales of each."""
    if made.ndim == 2:
        yield made, held, factors
        return
    of_each = [factors] * len(made) if factors.numel() == 1 else list(factors)
    if len(of_each) != len(made):
        raise _unfit(held, factors)
    for matrices in zip(made, held, of_each, strict=True):
        yield from _matrices(*matrices)


def _unfit(held: Tensor, factors: Tensor) -> ValueError:
    shapes = " and ".join(str(list(each.shape)) for each in (held, factors))
    return ValueError(f"a weight in FP8 and its scales have the shapes {shapes}, which do not fit")


def _as_numbers(scales: Tensor) -> Tensor:
    """Return scales in fp32. Bytes are exponents of 2."""
    return (scales.float() - EXPONENT_BIAS).exp2() if scales.dtype == torch.uint8 else scales.float()
