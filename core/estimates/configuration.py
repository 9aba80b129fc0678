"""A model's configuration as the plain numbers that its memory follows from.

The API reads config.json, and the engine gives the configuration that transformers has completed.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from core.base_files.loadable import text_of
from core.base_files.paths import files_in_wheels, folder_of
from core.catalog import BaseModelEntry
from core.estimates.expected_path import expected_path
from core.estimates.gguf_header import configuration_in
from core.estimates.layers.shape import LayerShape
from core.estimates.layers.table import (
    ATTENTION,
    GATED_ATTENTION,
    SLIDING,
    inner_of,
    is_size,
    layers_of,
    names_of,
    types_of,
    usual_norms,
)
from core.estimates.shapes import ModelShape

CONFIG = "config.json"
NORMALISED_HEADS = ("qwen3", "gemma3", "gemma4", "lfm2", "olmo2", "olmo3", "olmoe", "exaone4")
SCALED_EMBEDDINGS = ("gemma3", "gemma4")
"""Beginnings of `model_type`"""
TIED_TYPES = ("gemma", "gpt2")  # types whose config.json may leave out that the head is the embedding
NEEDED = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
TOWERS = ("vision_config", "audio_config")
TOWER_SIZES = (("num_hidden_layers", "depth"), ("hidden_size",), ("intermediate_size",))
"""Names of a tower's layers, its width and its inner width"""
GATED_TOWERS = ("gemma4_vision", "pixtral")
WITH_SINKS = ("gpt_oss",)
HEAD_SIZES = {  # where config.json may leave them out
    **dict.fromkeys(("ernie4_5", "glm", "helium", "ministral3", "qwen3", "seed_oss"), 128),
    "gemma": 256,
}
USUAL: Mapping[str, Mapping[str, int]] = {
    "gemma3_text": {"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262_208},
    "gemma4_text": {
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 30,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262_144,
        "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 262_144,
    },
    "qwen3_5_text": {
        "hidden_size": 4096,
        "intermediate_size": 12_288,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 248_320,
    },
    "qwen3_5_moe_text": {
        "hidden_size": 2048,
        "num_hidden_layers": 40,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "vocab_size": 248_320,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
    },
}
"""config.json may leave these out too; the values are transformers' own, by the type of the text model"""

DecoderPath = Literal["fast", "portable"]


def shape_of(
    config: Mapping[str, Any],
    number_bytes: int,
    quantization: Literal["nf4", "int8"] | None,
    path: DecoderPath | None = None,
    saves_in_bf16: bool = False,
    flex_attention: bool = False,
    max_length: int = 0,
) -> ModelShape | None:
    """Return the shape, or None if the configuration does not have the usual numbers of a transformer.

    Without a `path`, the model's type and the longest row that the base model takes (`max_length`) decide on
    it. A model of texts and images counts as its text model. `flex_attention` says whether the device has it.
    """
    text = text_of(config)
    kind = str(text.get("model_type") or config.get("model_type") or "")
    text = {**USUAL.get(kind, {}), **text}
    numbers = [number for number in _numbers(text, kind) if is_size(number)]
    if len(numbers) < len(NEEDED):
        return None
    count, hidden, inner, heads, vocabulary = numbers
    key_heads = text.get("num_key_value_heads") or heads
    usual = next((size for name, size in HEAD_SIZES.items() if kind.startswith(name)), hidden // heads)
    head_size = text.get("head_dim") or usual
    if not (is_size(key_heads) and is_size(head_size)):
        return None
    gates_output = kind.startswith(GATED_ATTENTION)
    layer = LayerShape(heads, key_heads, head_size, inner, norms=usual_norms(kind), gates_output=gates_output)
    layers = layers_of(text, kind, layer, hidden, count)
    if layers is None:
        return None
    return ModelShape(
        **vars(next((each for each in layers if each.heads), layers[0])),
        layers=count,
        differing=tuple(layers) if len(set(layers)) > 1 else (),
        names=names_of(kind),
        hidden=hidden,
        vocabulary=vocabulary,
        tied=bool(_own(config, text, "tie_word_embeddings", kind.startswith(TIED_TYPES))),
        number_bytes=number_bytes,
        quantization=quantization,
        path=path or ("fast" if expected_path(config, max_length).path == "fast" else "portable"),
        saves_in_bf16=saves_in_bf16,
        layouts=len({*types_of(text, kind, count)} & {ATTENTION, SLIDING}) or 1,
        norms_of_heads=kind.startswith(NORMALISED_HEADS) or bool(text.get("use_qk_norm")),
        norms_of_values=kind.startswith("gemma4"),
        keeps_scores=None if flex_attention else _keeps_scores(text, kind),
        caps_logits=bool(text.get("final_logit_softcapping")),
        scales_embedding=kind.startswith(SCALED_EMBEDDINGS),
        own_vocabulary=text.get("vocab_size_per_layer_input") or 0,
        body=_body(config),
        towers=sum(_tower_weights(config.get(name)) for name in TOWERS),
    )


def _numbers(text: Mapping[str, Any], kind: str) -> Iterator[Any]:
    """Yield what is NEEDED, as far as it is there."""
    types = text.get("layer_types") or text.get("layers_block_type") or text.get("hybrid_override_pattern")
    for name in NEEDED:
        if name == "intermediate_size":
            yield inner_of(text, kind)
        elif name == "num_hidden_layers":
            yield text.get(name) or (len(types) if isinstance(types, list | str) else None)
        else:
            yield text.get(name)


def _keeps_scores(text: Mapping[str, Any], kind: str) -> Literal["capped", "with sinks"] | None:
    """Return why PyTorch has no such attention, or None if it has."""
    if text.get("attn_logit_softcapping"):
        return "capped"
    return "with sinks" if kind in WITH_SINKS else None


def configuration_of(entry: BaseModelEntry, models_folder: Path) -> Mapping[str, Any] | None:
    """Return the configuration of a base model of the catalog, or None if it is not on this machine's disk.

    A model of the hub is there once a trainer on this machine has fetched it, and a wheel has its own.
    """
    try:
        return _read(str(folder_of(entry, models_folder)))
    except (OSError, ValueError):
        files = files_in_wheels(entry) if entry.source == "wheel" else []
        return _in_gguf(files[0]) if files else None


@lru_cache(maxsize=16)
def _in_gguf(file: Path) -> Mapping[str, Any] | None:
    """Return the configuration in a GGUF file, or in its first piece; None if there is none."""
    try:
        return configuration_in(file)
    except (OSError, ValueError, LookupError):
        return None


@lru_cache(maxsize=256)
def _read(folder: str) -> Mapping[str, Any]:
    """Return what is in config.json. Errors are not kept: the model may be fetched later."""
    found = json.loads((Path(folder) / CONFIG).read_text("utf-8"))
    if not isinstance(found, dict):
        raise ValueError("a configuration must be a JSON object")
    return found


def _body(config: Mapping[str, Any]) -> str:
    """Return the name of the text model without its head."""
    return "model" if text_of(config) is config else "model.language_model"


def _tower_weights(config: Any) -> int:
    """Return about how many weights a tower has that no text runs through: those of its layers.

    A layer has 4 D² weights in attention, and 2 D I in the MLP, or 3 D I with a gate.
    """
    if not isinstance(config, Mapping):
        return 0
    found = [next((config[name] for name in names if is_size(config.get(name))), 0) for names in TOWER_SIZES]
    layers, D, inner = found
    return layers * (4 * D * D + (3 if config.get("model_type") in GATED_TOWERS else 2) * D * inner)


def _own(config: Mapping[str, Any], text: Mapping[str, Any], name: str, usual: bool) -> Any:
    """Return an option of the whole model, or of the text model if only that one has it."""
    return config.get(name, text.get(name, usual))
