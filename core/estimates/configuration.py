"""A model's configuration as the plain numbers that its memory follows from.

The API reads config.json, and the engine gives the configuration that transformers has completed.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeGuard

from core.base_files.loadable import text_of
from core.base_files.paths import files_in_wheels, folder_of
from core.catalog import BaseModelEntry
from core.estimates.expected_path import EXPERTS, expected_path
from core.estimates.gguf_header import configuration_in
from core.estimates.shapes import LayerOfExperts, ModelShape

CONFIG = "config.json"
NORMALISED_HEADS = ("qwen3", "gemma3", "olmo2", "olmo3")  # beginnings of `model_type`
FOUR_NORMS = ("gemma2", "gemma3", "glm4", "olmo2", "olmo3")  # OLMo's two norms behind keep as much as four
TIED_TYPES = ("gemma", "gpt2")  # types whose config.json may leave out that the head is the embedding
NEEDED = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
LARGEST_SIZE = 2**31
TOWERS = ("vision_config", "audio_config")
TOWER_SIZES = (("num_hidden_layers", "depth"), ("hidden_size",), ("intermediate_size",))
"""Names of a tower's layers, its width and its inner width"""
GATED_TOWERS = ("gemma4_vision", "pixtral")
CHOSEN = ("num_experts_per_tok", "top_k_experts")
SHARED_INNER = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
)
OF_EXPERTS = (*EXPERTS, *CHOSEN, *SHARED_INNER, "moe_intermediate_size", "n_shared_experts")
BESIDE_MLP = ("gemma4",)  # beginnings of types whose layers have an MLP beside their experts
UNGATED = ("nemotron",)
WITH_SINKS = ("gpt_oss",)
HEAD_SIZES = {  # where config.json may leave them out
    **dict.fromkeys(("ernie4_5", "glm", "helium", "ministral3", "qwen3", "seed_oss"), 128),
    "gemma": 256,
}
USUAL: Mapping[str, Mapping[str, int]] = {
    "gemma3_text": {"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262_208}
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

    All layers count as alike: with experts, if the model has any. Without a `path`, the model's type and the
    longest row that the base model takes (`max_length`) decide on it. A model of texts and images counts as
    its text model. `flex_attention` says whether the device has it.
    """
    text = text_of(config)
    kind = str(text.get("model_type") or config.get("model_type") or "")
    text = {**USUAL.get(kind, {}), **text}
    named = {name: text.get(name) for name in NEEDED}
    named["intermediate_size"] = named["intermediate_size"] or text.get("moe_intermediate_size")
    numbers = [number for number in named.values() if _is_size(number)]
    if len(numbers) < len(NEEDED):
        return None
    layers, hidden, inner, heads, vocabulary = numbers
    experts = _experts(text, kind)
    if experts is None and any(text.get(name) for name in EXPERTS):
        return None
    key_heads = text.get("num_key_value_heads") or heads
    usual = next((size for name, size in HEAD_SIZES.items() if kind.startswith(name)), hidden // heads)
    head_size = text.get("head_dim") or usual
    if not (_is_size(key_heads) and _is_size(head_size)):  # some models have one for each layer
        return None
    return ModelShape(
        layers=layers,
        hidden=hidden,
        inner=inner if experts is None or kind.startswith(BESIDE_MLP) else experts.shared_inner,
        experts=experts,
        heads=heads,
        key_heads=key_heads,
        head_size=head_size,
        vocabulary=vocabulary,
        tied=bool(_own(config, text, "tie_word_embeddings", kind.startswith(TIED_TYPES))),
        number_bytes=number_bytes,
        quantization=quantization,
        path=path or ("fast" if expected_path(config, max_length).path == "fast" else "portable"),
        saves_in_bf16=saves_in_bf16,
        norms=4 if kind.startswith(FOUR_NORMS) and experts is None else 2,
        norms_of_heads=kind.startswith(NORMALISED_HEADS),
        keeps_scores=None if flex_attention else _keeps_scores(text, kind),
        body=_body(config),
        towers=sum(_tower_weights(config.get(name)) for name in TOWERS),
    )


def _keeps_scores(text: Mapping[str, Any], kind: str) -> Literal["capped", "with sinks"] | None:
    """Return why PyTorch has no such attention, or None if it has."""
    if text.get("attn_logit_softcapping"):
        return "capped"
    return "with sinks" if kind in WITH_SINKS else None


def _experts(text: Mapping[str, Any], kind: str) -> LayerOfExperts | None:
    """Return the experts of a layer; None without experts, or without the usual numbers."""
    count, chosen = _first(text, EXPERTS), _first(text, CHOSEN)
    inner = _first(text, ("moe_intermediate_size", "intermediate_size"))
    if not (_is_size(count) and _is_size(chosen) and _is_size(inner)):
        return None
    shared = _first(text, SHARED_INNER)
    if shared is None and _is_size(several := text.get("n_shared_experts")):
        shared = several * inner
    gated = not kind.startswith(UNGATED)
    return LayerOfExperts(count, min(chosen, count), inner, shared if _is_size(shared) else 0, gated)


def _first(text: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((found for name in names if (found := text.get(name))), None)


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
    found = [next((config[name] for name in names if _is_size(config.get(name))), 0) for names in TOWER_SIZES]
    layers, D, inner = found
    return layers * (4 * D * D + (3 if config.get("model_type") in GATED_TOWERS else 2) * D * inner)


def _is_size(found: Any) -> TypeGuard[int]:
    """Return whether this can be a number of layers, heads or neurons: a stranger may have written it."""
    return isinstance(found, int) and 0 < found <= LARGEST_SIZE


def _own(config: Mapping[str, Any], text: Mapping[str, Any], name: str, usual: bool) -> Any:
    """Return an option of the whole model, or of the text model if only that one has it."""
    return config.get(name, text.get(name, usual))
