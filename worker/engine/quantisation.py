"""Base models in 4 or 8 bits, through bitsandbytes, made fit for training; the weights of any layer."""

import importlib.util
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from core.errors import JobError


def quantization_config(
    quantization: Literal["nf4", "int8"], dtype: torch.dtype, model_id: str
) -> BitsAndBytesConfig:
    """QLoRA's 4 bits (Dettmers et al. 2023, arXiv:2305.14314), or 8 bits with a scale per output.

    Raises JobError where bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise JobError(
            "model_unavailable",
            f"The base model {model_id} cannot be loaded: quantization = {quantization} needs bitsandbytes: "
            "run `pip install bitsandbytes` on the worker.",
            "model",
        )
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def make_trainable(model: nn.Module) -> None:
    """Let the quantised layers multiply in a way that has a gradient and treats each token by itself.

    In evaluation bitsandbytes packs 4-bit weights for a CPU kernel without a backward pass. In 8 bits it may
    round activations too, and which of their columns it spares depends on all tokens of the call, so that one
    job's tokens would change another's.
    """
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    modules: Iterator[Any] = model.modules()
    for layer in modules:
        if isinstance(layer, Linear4bit):
            layer.train()
        elif isinstance(layer, Linear8bitLt):
            if layer.weight.CB is not None:
                layer.init_8bit_state()
            layer.forward = partial(_int8_linear, layer)


def is_quantised(layer: nn.Module) -> bool:
    """Whether the layer's weight is in 4 or 8 bits."""
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    return isinstance(layer, Linear4bit | Linear8bitLt)


@torch.no_grad()
def weight_of(layer: Any) -> Tensor:
    """A linear layer's weight, [N, K] in fp32; a copy unless it is held so."""
    state = getattr(layer.weight, "quant_state", None)
    if state is not None:
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(layer.weight.data, state).float()
    if getattr(layer, "state", None) is not None:
        return _dequantised(layer.state.CB, layer.state.SCB, torch.float32)
    weight: Tensor = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
    return weight.float()


def _int8_linear(layer: Any, x: Tensor) -> Tensor:
    y: Tensor = _Int8Product.apply(x, layer.state.CB, layer.state.SCB)
    return y if layer.bias is None else y + layer.bias.to(y.dtype)


class _Int8Product(torch.autograd.Function):
    """x Wᵀ, where W is made from its 8 bits, forward and back, and never kept."""

    @staticmethod
    def forward(ctx, x, int8_NK, absmax_N):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(int8_NK, absmax_N)
        return x @ _dequantised(int8_NK, absmax_N, x.dtype).T

    @staticmethod
    def backward(ctx, dy):  # type: ignore[no-untyped-def]
        int8_NK, absmax_N = ctx.saved_tensors
        return dy @ _dequantised(int8_NK, absmax_N, dy.dtype), None, None


def _dequantised(int8_NK: Tensor, absmax_N: Tensor, dtype: torch.dtype) -> Tensor:
    return int8_NK.to(dtype).mul_(absmax_N[:, None] / 127)
