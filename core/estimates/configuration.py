"""A model's configuration as the plain numbers that its memory follows from.

The API reads config.json, and the engine gives the configuration that transformers has completed.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeGuard

from core.base_files.paths import file_in_wheel, folder_of
from core.catalog import BaseModelEntry
from core.estimates.gguf_header import configuration_in
from core.estimates.shapes import ModelShape

CONFIG = "config.json"
NORMALISED_HEADS = ("qwen3", "gemma3", "olmo2", "olmo3")  # beginnings of `model_type`
FOUR_NORMS = ("gemma2", "gemma3", "glm4", "olmo2", "olmo3")  # OLMo's two norms behind keep as much as four
FAST_TYPES = (
    *("ernie4_5", "gemma", "gemma2", "gemma3", "gemma3_text", "gemma4", "gemma4_text", "glm", "glm4"),
    *(
        "granite",
        "granitemoehybrid",
        "helium",
        "llama",
        "ministral",
        "ministral3",
        "mistral",
        "olmo2",
        "olmo3",
    ),
    *("phi3", "qwen2", "qwen3", "seed_oss", "smollm3"),
)
"""Model types that the engine's fast path computes, but for some rare options of theirs."""
LAYERS = ("full_attention", "sliding_attention", "attention")
"""The types of layers that the fast path computes"""
GATES = ("silu", "gelu_pytorch_tanh")
"""The functions of a gate that the fast path computes"""
LENGTH_DEPENDENT = ("dynamic", "longrope")
FIRST_CONTEXT = "original_max_position_embeddings"
"""Rotations that change behind the first context"""
TIED_TYPES = ("gemma", "gpt2")  # types whose config.json may leave out that the head is the embedding
NEEDED = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
LARGEST_SIZE = 2**31
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
HEAD_SIZES = {  # where config.json may leave them out
    **dict.fromkeys(("ernie4_5", "glm", "helium", "ministral3", "qwen3", "seed_oss"), 128),
    "gemma": 256,
}

DecoderPath = Literal["fast", "portable"]


def shape_of(
    config: Mapping[str, Any],
    number_bytes: int,
    quantization: Literal["nf4", "int8"] | None,
    path: DecoderPath | None = None,
    saves_in_bf16: bool = False,
    flex_attention: bool = False,
) -> ModelShape | None:
    """Return the shape, or None if the configuration is not that of a dense transformer.

    Without a `path`, the model's type decides on it. A model of texts and images counts as its text model.
    `flex_attention` says whether the device has it.
    """
    text, kind = _text_of(config), _type_of(config)
    numbers = [number for name in NEEDED if _is_size(number := text.get(name))]
    if len(numbers) < len(NEEDED) or any(text.get(name) for name in EXPERTS):
        return None
    layers, hidden, inner, heads, vocabulary = numbers
    key_heads = text.get("num_key_value_heads") or heads
    usual = next((size for name, size in HEAD_SIZES.items() if kind.startswith(name)), hidden // heads)
    head_size = text.get("head_dim") or usual
    if not (_is_size(key_heads) and _is_size(head_size)):  # some models have one for each layer
        return None
    return ModelShape(
        layers=layers,
        hidden=hidden,
        inner=inner,
        heads=heads,
        key_heads=key_heads,
        head_size=head_size,
        vocabulary=vocabulary,
        tied=bool(_own(config, text, "tie_word_embeddings", kind.startswith(TIED_TYPES))),
        number_bytes=number_bytes,
        quantization=quantization,
        path=path or ("fast" if takes_fast_path(config) else "portable"),
        saves_in_bf16=saves_in_bf16,
        norms=4 if kind.startswith(FOUR_NORMS) else 2,
        norms_of_heads=kind.startswith(NORMALISED_HEADS),
        keeps_scores=bool(text.get("attn_logit_softcapping")) and not flex_attention,
    )


def takes_fast_path(config: Mapping[str, Any], max_length: int = 0) -> bool:
    """Return whether the engine's fast path is expected to compute the model on rows of up to `max_length`.

    A worker tries it out when it loads the model (`worker/engine/base/miniature.py`).
    """
    text = _text_of(config)
    types = text.get("layer_types")
    return (
        _type_of(config) in FAST_TYPES
        and not any(text.get(name) for name in EXPERTS)
        and all(each in LAYERS for each in (types if isinstance(types, list) else ()))
        and (text.get("hidden_activation") or text.get("hidden_act") or GATES[0]) in GATES
        and not _changes_within(text, max_length)
    )


def _changes_within(text: Mapping[str, Any], max_length: int) -> bool:
    """Return whether the rotation of a row depends on how long the row is, if it has `max_length` tokens."""
    found = text.get("rope_parameters") or text.get("rope_scaling")
    rotation: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    if (rotation.get("rope_type") or rotation.get("type")) not in LENGTH_DEPENDENT:
        return False
    first = {**rotation, **text}.get(FIRST_CONTEXT)
    return max_length > (first if _is_size(first) else 0)


def _text_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the text model, which may be a part of a larger model."""
    of_texts = config.get("text_config")
    return of_texts if isinstance(of_texts, Mapping) and of_texts else config


def _type_of(config: Mapping[str, Any]) -> str:
    return str(_text_of(config).get("model_type") or config.get("model_type") or "")


def configuration_of(entry: BaseModelEntry, models_folder: Path) -> Mapping[str, Any] | None:
    """Return the configuration of a base model of the catalog, or None if it is not on this machine's disk.

    A model of the hub is there once a trainer on this machine has fetched it, and a wheel has its own.
    """
    try:
        return _read(str(folder_of(entry, models_folder)))
    except (OSError, ValueError):
        return _in_wheel(entry.package, entry.file) if entry.package and entry.file else None


@lru_cache(maxsize=16)
def _in_wheel(package: str, file: str) -> Mapping[str, Any] | None:
    """Return the configuration in the GGUF file of an installed wheel; None if there is none."""
    path = file_in_wheel(package, file)
    try:
        return None if path is None else configuration_in(path)
    except (OSError, ValueError, LookupError):
        return None


@lru_cache(maxsize=256)
def _read(folder: str) -> Mapping[str, Any]:
    """Return what is in config.json. Errors are not kept: the model may be fetched later."""
    found = json.loads((Path(folder) / CONFIG).read_text("utf-8"))
    if not isinstance(found, dict):
        raise ValueError("a configuration must be a JSON object")
    return found


def _is_size(found: Any) -> TypeGuard[int]:
    """Return whether this can be a number of layers, heads or neurons: a stranger may have written it."""
    return isinstance(found, int) and 0 < found <= LARGEST_SIZE


def _own(config: Mapping[str, Any], text: Mapping[str, Any], name: str, usual: bool) -> Any:
    """Return an option of the text model, or of the whole model if only that one has it."""
    return text.get(name, config.get(name, usual))
