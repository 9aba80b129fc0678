"""The least time that a GPU needs for a call: for its operations, or for the bytes that it reads and writes.

This is the roofline of Williams et al. 2009 (doi:10.1145/1498765.1498785), call by call. A real GPU reaches
60 to 80 % of both rates in large kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

LAUNCH = 5e-6  # seconds that the host takes to start a kernel from Python


@dataclass(frozen=True)
class Card:
    """Rates of a GPU: operations a second in bf16 and in fp8, dense, with sums in fp32; bytes a second."""

    name: str
    bf16: float
    fp8: float
    bandwidth: float

    def seconds(self, function: Any, args: Any, kwargs: Any, out: Any) -> float:
        """Return the least time of one call."""
        rate = self.fp8 if "_scaled_mm" in str(function) else self.bf16
        return max(operations(function, args, kwargs, out) / rate, self.moving((args, kwargs, out)))

    def moving(self, values: Any) -> float:
        """Return the least time in which each of the tensors is read or written once."""
        return sum(nbytes(each) for each in _tensors(values)) / self.bandwidth


# By NVIDIA's data sheet of the H100 SXM (2023), and table 2 of its Ada GPU architecture (version 2.1)
H100 = Card("H100", 989e12, 1979e12, 3.35e12)
RTX_4090 = Card("RTX 4090", 165.2e12, 330.3e12, 1.008e12)


def operations(function: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Return the floating-point operations of a product; 0 for all other calls."""
    count = flop_registry.get(getattr(function, "overloadpacket", None))
    return 0 if count is None else int(count(*args, **kwargs, out_val=out))


def nbytes(tensor: Tensor) -> int:
    """Return the bytes that a tensor takes in memory. What is expanded is there once."""
    sizes = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return int(torch.Size(sizes).numel()) * tensor.itemsize


def _tensors(values: Any) -> Iterable[Tensor]:
    return {id(each): each for each in tree_leaves(values) if isinstance(each, Tensor)}.values()
