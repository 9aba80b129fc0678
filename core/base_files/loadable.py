"""Decides by a model's configuration whether its weights can be loaded to be trained.

A trainer asks before it loads a model, and `tunery models add` asks before a model is on offer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

METHODS = ("fp8", "mxfp4")
"""The formats of source weights that are computed back while they are loaded."""


@dataclass(frozen=True)
class QuantisedSource:
    """How source weights are quantised. `block` is the part of an FP8 weight that has a scale of its own."""

    method: str
    block: tuple[int, int] | None = None


def text_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the text model: a part, if the model also processes images or sound."""
    found = config.get("text_config")
    return found if isinstance(found, Mapping) and found else config


def quantised_source(config: Mapping[str, Any]) -> QuantisedSource | None:
    """Return how the source weights are quantised; None if they are not."""
    found = config.get("quantization_config") or text_of(config).get("quantization_config")
    if not found:
        return None
    fields = found if isinstance(found, Mapping) else {}
    block = fields.get("weight_block_size")
    sizes = tuple(block) if isinstance(block, list) else ()
    is_pair = len(sizes) == 2 and all(isinstance(size, int) and size > 0 for size in sizes)
    return QuantisedSource(
        str(fields.get("quant_method") or "unknown"), (sizes[0], sizes[1]) if is_pair else None
    )


def why_not_loadable(config: Mapping[str, Any], is_known_type: Callable[[str], bool]) -> str | None:
    """Return why the weights cannot be loaded, as the end of a sentence; None if nothing speaks against it.

    `is_known_type` tells whether transformers has a model that writes text by the name of its type.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or not is_known_type(kind):
        return (
            f"its config.json names the model_type {kind!r}, and transformers has no causal model of this "
            "type. Code from a model's repository is never run."
        )
    source = quantised_source(config)
    if source is not None and source.method not in METHODS:
        return (
            f"its source weights are quantised ({source.method}). Name weights that are not, or that are in "
            f"{' or '.join(METHODS)}: jobs can hold them in 4 or 8 bits themselves (training.quantization)."
        )
    if text_of(config).get("use_bidirectional_attention") in (True, "all"):
        return "its tokens attend to the tokens after them."
    return None
