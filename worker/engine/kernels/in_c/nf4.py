"""Calls the kernels for weights in nf4 in C (`nf4.c`). Their results are bitsandbytes' to the bit."""

import torch
from torch import Tensor

from worker.engine.kernels.in_c.calls import integers, kernel, pointers, threads

SIZE = 16  # a block is a multiple of so many numbers


def can_quantise(numbers: Tensor, block: int) -> bool:
    """Return whether C quantises a contiguous tensor in blocks of this size."""
    whole = numbers.numel() % block == 0 and block % SIZE == 0
    return whole and numbers.is_contiguous() and kernel("nf4", numbers) is not None


def quantised(numbers: Tensor, bounds: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Return the packed numbers as bitsandbytes shapes them, and the scale of each block."""
    blocks = numbers.numel() // block
    packed = torch.empty(numbers.numel() // 2, 1, dtype=torch.uint8)
    scales = torch.empty(blocks)
    built = kernel("nf4", numbers)
    assert built is not None
    built.quantise(*pointers(numbers, bounds, packed, scales), *integers((blocks, block)), threads())
    return packed, scales


def can_dequantise(packed: Tensor, scales: Tensor, block: int, made: Tensor) -> bool:
    """Return whether C makes a matrix, to be written to `made`, of packed numbers and their scales."""
    whole = scales.numel() * block == made.numel() and block % SIZE == 0
    return (
        whole
        and packed.numel() * 2 == made.numel()
        and packed.dtype == torch.uint8
        and kernel("nf4", made) is not None
    )


def dequantise(packed: Tensor, scales: Tensor, code: Tensor, block: int, made: Tensor) -> None:
    """Write the matrix of packed numbers, with the scale of each block in fp32, to a contiguous tensor."""
    built = kernel("nf4", made)
    assert built is not None
    sizes = integers((made.numel() // block, block))
    built.dequantise(*pointers(packed, scales, code, made), *sizes, threads())
