"""A loaded model's configuration as the plain numbers that its memory follows from."""

from typing import Any, Literal

import torch

from core.estimates import configuration
from core.estimates.shapes import ModelShape

# Read as attributes, since transformers gives some of them other names in its dictionaries
KNOWN = (
    *configuration.NEEDED,
    *configuration.OF_EXPERTS,
    *("num_key_value_heads", "head_dim", "tie_word_embeddings", "model_type", "attn_logit_softcapping"),
)


def shape_of(
    config: Any,
    dtype: torch.dtype,
    quantization: Literal["nf4", "int8"] | None,
    path: configuration.DecoderPath,
    saves_in_bf16: bool = False,
    flex_attention: bool = False,
) -> ModelShape | None:
    """Return the shape, or None if the configuration lacks the usual numbers."""
    text = config.get_text_config()
    known = {name: getattr(text, name, None) for name in KNOWN}
    return configuration.shape_of(known, dtype.itemsize, quantization, path, saves_in_bf16, flex_attention)
