"""The weight of any linear layer: of nn.Linear, of transformers' Conv1D, or quantised by bitsandbytes."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from worker.engine.kernels.in_c.nf4 import can_dequantise, dequantise
from worker.engine.kernels.int8.weight import LARGEST

BLOCK_NUMBERS = 2**16  # of an 8-bit weight that are dequantised at once


def is_quantised(layer: nn.Module) -> bool:
    """Tell whether the layer's weight is in 4 or 8 bits."""
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    return isinstance(layer, Linear4bit | Linear8bitLt)


@torch.no_grad()
def weight_of(layer: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a linear layer's weight, [N, K], in `dtype`; a copy unless the layer holds it in that type."""
    state = getattr(layer.weight, "quant_state", None)
    if state is not None:
        return of_4_bits(layer.weight.data, state).to(dtype)
    if (int8_weight := int8_weight_of(layer)) is not None:
        return dequantised(*int8_weight, dtype)
    weight: Tensor = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
    return weight.to(dtype)


def of_4_bits(packed: Tensor, state: Any) -> Tensor:
    """Return the matrix of packed numbers, in the type that it was quantised from."""
    from bitsandbytes.functional import dequantize_4bit

    made_NK = torch.empty(state.shape, dtype=state.dtype, device=packed.device)
    if state.quant_type != "nf4" or not can_dequantise(packed, state.absmax, state.blocksize, made_NK):
        dequantised_NK: Tensor = dequantize_4bit(packed, state)
        return dequantised_NK
    dequantise(packed, scales_of(state), state.code, state.blocksize, made_NK)
    return made_NK


def scales_of(state: Any) -> Tensor:
    """Return the scale of each block of packed numbers. They may be held in 8 bits themselves."""
    from bitsandbytes.functional import dequantize_blockwise

    scales: Tensor = state.absmax
    return dequantize_blockwise(scales, state.state2).add_(state.offset) if state.nested else scales


def int8_weight_of(layer: Any) -> tuple[Tensor, Tensor] | None:
    """Return the 8-bit weight [N, K] and the largest magnitude of each row [N]; None for another layer."""
    if (state := getattr(layer, "state", None)) is not None:
        return state.CB, state.SCB
    absmax_N = getattr(layer.weight, "SCB", None)
    return None if absmax_N is None else (layer.weight.data, absmax_N)


def dequantised(int8_NK: Tensor, absmax_N: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weight in `dtype`: on a GPU by one kernel, on a CPU in blocks of rows.

    A block is computed in fp32, in the cache, and then rounded: a CPU takes many times as long for a product
    whose factors and result have different types. A GPU converts them on the way, and would start thousands
    of kernels for the blocks of a head.
    """
    made_NK = torch.empty(int8_NK.shape, dtype=dtype, device=int8_NK.device)
    scale_N = absmax_N / LARGEST
    if int8_NK.is_cuda:
        return torch.mul(int8_NK, scale_N[:, None], out=made_NK)
    parts = (int8_NK, scale_N, made_NK)
    rows_at_once = max(1, BLOCK_NUMBERS // int8_NK.shape[1])
    blocks = zip(*(tensor.split(rows_at_once) for tensor in parts), strict=True)
    for rows, scales, made in blocks:
        made.copy_(rows * scales[:, None])
    return made_NK
