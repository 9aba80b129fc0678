"""A model's configuration as the plain numbers that its memory follows from."""

from typing import Any, Literal

import torch

from core.estimates.shapes import ModelShape

NORMALISED_HEADS = ("qwen3", "gemma3", "olmo2")  # beginnings of `model_type`
FOUR_NORMS = ("gemma2", "gemma3", "glm4")
NEEDED = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")


def shape_of(
    config: Any,
    dtype: torch.dtype,
    quantization: Literal["nf4", "int8"] | None,
    path: Literal["fast", "portable"],
    saves_in_bf16: bool = False,
) -> ModelShape | None:
    """Return the shape, or None if the configuration is not that of a dense transformer."""
    text = config.get_text_config()
    numbers = [number for name in NEEDED if isinstance(number := getattr(text, name, None), int)]
    if len(numbers) < len(NEEDED) or _has_experts(text):
        return None
    layers, hidden, inner, heads, vocabulary = numbers
    key_heads = getattr(text, "num_key_value_heads", None) or heads
    head_size = getattr(text, "head_dim", None) or hidden // heads
    if not (isinstance(key_heads, int) and isinstance(head_size, int)):  # some models have one for each layer
        return None
    return ModelShape(
        layers=layers,
        hidden=hidden,
        inner=inner,
        heads=heads,
        key_heads=key_heads,
        head_size=head_size,
        vocabulary=vocabulary,
        tied=bool(getattr(text, "tie_word_embeddings", False)),
        number_bytes=dtype.itemsize,
        quantization=quantization,
        path=path,
        saves_in_bf16=saves_in_bf16,
        norms=4 if text.model_type.startswith(FOUR_NORMS) else 2,
        norms_of_heads=text.model_type.startswith(NORMALISED_HEADS),
    )


def _has_experts(text: Any) -> bool:
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    return any(getattr(text, name, None) for name in names)
