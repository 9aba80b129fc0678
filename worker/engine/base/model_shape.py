"""A loaded model's configuration as the plain numbers that its memory follows from."""

import copy
from typing import Any, Literal

import torch

from core.estimates import configuration
from core.estimates.layers.table import EXPERTS
from core.estimates.shapes import ModelShape

# Read as attributes, since transformers gives some of them other names in its dictionaries
KNOWN = (
    *configuration.NEEDED,
    *EXPERTS,
    "num_key_value_heads",
    "head_dim",
    "tie_word_embeddings",
    "model_type",
)


def shape_of(
    config: Any,
    dtype: torch.dtype,
    quantization: Literal["nf4", "int8"] | None,
    path: configuration.DecoderPath,
    saves_in_bf16: bool = False,
    flex_attention: bool = False,
    tied: bool | None = None,
) -> ModelShape | None:
    """Return the shape, or None if the configuration lacks the usual numbers.

    `tied` says whether the head is the embedding, if more is known than the configuration says.
    """
    own = config.get_text_config()
    text = copy.copy(own)
    text.allow_global_per_layer_attribute_access = True  # where a few layers have other heads than the rest
    known = own.to_dict() | {name: getattr(text, name, None) for name in KNOWN}
    if tied is not None:
        known["tie_word_embeddings"] = tied
    if own is not config:
        towers = {
            name: tower.to_dict() for name in configuration.TOWERS if (tower := getattr(config, name, None))
        }
        known = {"model_type": config.model_type, "text_config": known, **towers}
    return configuration.shape_of(known, dtype.itemsize, quantization, path, saves_in_bf16, flex_attention)
