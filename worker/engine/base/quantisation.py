"""Base models in 4 or 8 bits, by bitsandbytes, made fit for training."""

import importlib.util
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

from core.errors import JobError
from worker.engine.base.in_parts import in_int8, int8_parameter
from worker.engine.decoders.layer_weight import dequantised, int8_weight_of


def quantization_config(
    quantization: Literal["nf4", "int8"], dtype: torch.dtype, model_id: str
) -> BitsAndBytesConfig:
    """Return the configuration for QLoRA's 4 bits (Dettmers et al. 2023, arXiv:2305.14314), or for 8 bits.

    8 bits have one scale for each output. Raises JobError if bitsandbytes is not installed.
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
    """Make the quantised layers multiply with a gradient, and each token independently of the others.

    In evaluation mode, on a CPU with products in bf16, bitsandbytes packs 4-bit weights for a kernel that has
    no backward pass and rounds to bf16. In 8 bits it may round activations too, and spares some of their
    columns. Which columns depends on all tokens of the call, so one job's tokens would change another job's.
    """
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    modules: Iterator[Any] = model.modules()
    for layer in modules:
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False
        elif isinstance(layer, Linear8bitLt):
            if layer.weight.CB is not None:
                layer.init_8bit_state()
            layer.forward = partial(int8_linear, layer)


def quantise_embeddings(model: Any, dtype: torch.dtype) -> None:
    """Hold the token embedding and the head, tied or not, in 8 bits with a scale for each token.

    They may be so already. Tokens are looked up in `dtype`.

    transformers leaves them in 16 bits, which is half of the memory of a small model in nf4. Rounding them to
    8 bits loses little beside the rounding of the other weights to 4. An embedding or a head of another
    class may do more than look up or multiply. It stays as it is, and so does a weight that is tied to it.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    looks_up, multiplies = type(embedding) is nn.Embedding, type(head) is nn.Linear
    tied = head.weight is embedding.weight
    if tied and not (looks_up and multiplies):
        return
    if looks_up:
        embedding.weight = _int8_parameter(embedding.weight)
        embedding.forward = partial(int8_rows, embedding, dtype)
    if multiplies:
        head.weight = embedding.weight if tied else _int8_parameter(head.weight)
        head.forward = partial(int8_linear, head)


def _int8_parameter(weight: Any) -> nn.Parameter:
    return weight if weight.dtype == torch.int8 else int8_parameter(*in_int8(weight.data))


def int8_rows(embedding: Any, dtype: torch.dtype, tokens: Tensor) -> Tensor:
    """Look tokens up in an 8-bit embedding: the `forward` that `quantise_embeddings` gives it."""
    tokens_T, weight = tokens.flatten(), embedding.weight
    return dequantised(weight.data[tokens_T], weight.SCB[tokens_T], dtype).view(*tokens.shape, -1)


def int8_linear(layer: Any, x: Tensor) -> Tensor:
    """Multiply by an 8-bit weight and add the bias: the `forward` that an 8-bit layer is given here."""
    int8_weight = int8_weight_of(layer)
    assert int8_weight is not None
    y: Tensor = _Int8Product.apply(x, *int8_weight)
    return y if layer.bias is None else y + layer.bias.to(y.dtype)


class _Int8Product(torch.autograd.Function):
    """x Wᵀ, where W is made from its 8 bits in the forward and again in the backward pass, and never kept."""

    @staticmethod
    def forward(ctx, x, int8_NK, absmax_N):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(int8_NK, absmax_N)
        return x @ dequantised(int8_NK, absmax_N, x.dtype).T

    @staticmethod
    def backward(ctx, dy):  # type: ignore[no-untyped-def]
        int8_NK, absmax_N = ctx.saved_tensors
        return dy @ dequantised(int8_NK, absmax_N, dy.dtype), None, None
