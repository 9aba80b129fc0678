"""The weight of a layer that is held in 4 or 8 bits, part by part.

Parts take no longer to multiply than the whole matrix. But a part stays in a core's cache until it is
multiplied, and every part can use the same memory. A whole matrix may need new memory for each product, which
the system clears first.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, dtype

from core.estimates.workspace import PART_LENGTH, part_length
from worker.engine.decoders.layer_weight import dequantised, int8_weight_of, of_4_bits, scales_of, weight_of


def parts_of(layer: Any, dtype: dtype, axis: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield a linear layer's weight in `dtype`, part by part, with the place of each on an axis.

    Parts are rows [n, K] on axis 0, and columns [N, k] on axis 1. Weights that are not quantised are one
    part, and so are all on a GPU, for which each part would be a kernel.
    """
    state, int8_weight = getattr(layer.weight, "quant_state", None), int8_weight_of(layer)
    if layer.weight.device.type != "cpu":
        yield slice(None), weight_of(layer, dtype)
    elif state is not None and _has_parts(layer.weight.data, state):
        yield from _of_4_bits(layer.weight.data, state, dtype, axis)
    elif int8_weight is not None:
        yield from _of_8_bits(*int8_weight, dtype, axis)
    else:
        yield slice(None), weight_of(layer, dtype)


def _has_parts(packed: Tensor, state: Any) -> bool:
    """Return whether parts of packed numbers have whole blocks, and bytes of their own."""
    blocks_are_whole = state.shape[1] % state.blocksize == PART_LENGTH % state.blocksize == 0
    return blocks_are_whole and packed.dtype == torch.uint8


def _of_4_bits(packed: Tensor, state: Any, dtype: dtype, axis: int) -> Iterator[tuple[slice, Tensor]]:
    from bitsandbytes.functional import QuantState

    outputs, inputs = state.shape
    packed_NK, scales_NK = packed.view(outputs, -1), scales_of(state).view(outputs, -1)
    for part in _slices(state.shape, axis):
        length = part.stop - part.start
        if axis == 0:
            shape, numbers, scales = (length, inputs), packed_NK[part], scales_NK[part]
        else:
            shape, numbers = (outputs, length), packed_NK[:, part.start // 2 : part.stop // 2]
            scales = scales_NK[:, part.start // state.blocksize : part.stop // state.blocksize]
        own = QuantState(
            scales.contiguous().view(-1), shape, state.code, state.blocksize, state.quant_type, state.dtype
        )
        yield part, of_4_bits(numbers.contiguous().view(-1, 1), own).to(dtype)


def _of_8_bits(int8_NK: Tensor, absmax_N: Tensor, dtype: dtype, axis: int) -> Iterator[tuple[slice, Tensor]]:
    for part in _slices(int8_NK.shape, axis):
        if axis == 0:
            yield part, dequantised(int8_NK[part], absmax_N[part], dtype)
        else:
            yield part, dequantised(int8_NK[:, part].contiguous(), absmax_N, dtype)


def _slices(shape: Sequence[int], axis: int) -> Iterator[slice]:
    size, length = shape[axis], part_length(shape[1 - axis])
    for start in range(0, size, length):
        yield slice(start, min(start + length, size))
