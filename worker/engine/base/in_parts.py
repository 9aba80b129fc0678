"""bitsandbytes' quantisation, by our code on a CPU, where it would hold a matrix three times in 32 bits.

4 bits are found in C, and else in parts that stay in the cache, as 8 bits are. The result is the same to the
bit, since each block or row is rounded by itself.
"""

from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.kernels.in_c import nf4

NUMBERS = 2**16  # of a part; whole blocks
BLOCK = 64  # numbers of nf4 with one scale, as bitsandbytes has it on a CPU


@torch.no_grad()
def in_nf4(weight: Tensor) -> tuple[Tensor, Any]:
    """Return a weight's packed numbers, and bitsandbytes' description of them, with 8-bit scales."""
    from bitsandbytes.functional import QuantState, get_4bit_type, quantize_4bit, quantize_blockwise

    if weight.device.type != "cpu":
        pair: tuple[Tensor, Any] = quantize_4bit(weight, compress_statistics=True, quant_type="nf4")
        return pair
    numbers, code = weight.reshape(-1), get_4bit_type("nf4", weight.device)
    if nf4.can_quantise(numbers, BLOCK):
        packed, scales = nf4.quantised(numbers, (code[:-1] + code[1:]) / 2, BLOCK)
    else:
        parts = [quantize_4bit(part, blocksize=BLOCK, quant_type="nf4") for part in numbers.split(NUMBERS)]
        packed = torch.cat([each for each, _ in parts])
        scales = torch.cat([state.absmax for _, state in parts])
    offset = scales.mean()
    in_8_bits, of_scales = quantize_blockwise(scales - offset, blocksize=256)
    state = QuantState(
        in_8_bits,
        shape=weight.shape,
        code=code,
        blocksize=BLOCK,
        quant_type="nf4",
        dtype=weight.dtype,
        offset=offset,
        state2=of_scales,
    )
    return packed, state


@torch.no_grad()
def in_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix in 8 bits [N, K], and the largest magnitude of each row [N]."""
    from bitsandbytes.functional import int8_vectorwise_quant

    rows = max(1, NUMBERS // weight.shape[1]) if weight.device.type == "cpu" else len(weight)
    int8_NK = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    absmax_N = torch.empty(len(weight), device=weight.device)
    for part, made, absmax in zip(*(each.split(rows) for each in (weight, int8_NK, absmax_N)), strict=True):
        int8, largest, _ = int8_vectorwise_quant(part.to(torch.float16))  # the type that it takes
        made.copy_(int8)
        absmax.copy_(largest)
    return int8_NK, absmax_N


def nf4_parameter(module: Any, name: str, packed: Tensor, state: Any) -> nn.Parameter:
    """Return bitsandbytes' parameter of a layer's packed numbers, in the place of the layer's own."""
    from bitsandbytes.nn import Params4bit

    module.quant_state = state
    options = vars(getattr(module, name)) | {"quant_state": state, "bnb_quantized": True}
    made: nn.Parameter = Params4bit(packed, requires_grad=False, **options)
    return made


def int8_parameter(int8_NK: Tensor, absmax_N: Tensor) -> nn.Parameter:
    """Return bitsandbytes' parameter of numbers in 8 bits."""
    from bitsandbytes.nn import Int8Params

    made: nn.Parameter = Int8Params(int8_NK, requires_grad=False, CB=int8_NK, SCB=absmax_N)
    return made
