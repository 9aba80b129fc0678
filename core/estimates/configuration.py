"""A model's configuration as the plain numbers that its memory follows from.

The API reads config.json, and the engine gives the configuration that transformers has completed.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeGuard

from core.base_files.paths import file_in_wheel, folder_of
from core.catalog import BaseModelEntry
from core.estimates.gguf_header import configuration_in
from core.estimates.shapes import LayerOfExperts, ModelShape

CONFIG = "config.json"
NORMALISED_HEADS = ("qwen3", "gemma3", "olmo2")  # beginnings of `model_type`
FOUR_NORMS = ("gemma2", "gemma3", "glm4")
FAST_TYPES = ("gemma3", "gemma3_text", "llama", "mistral", "phi3", "qwen2", "qwen3")
"""Model types that the engine's fast path computes, but for some rare options of theirs."""
TIED_TYPES = ("gemma", "gpt2")  # types whose config.json may leave out that the head is the embedding
NEEDED = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
LARGEST_SIZE = 2**31
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
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
HEAD_SIZES = {"gemma3": 256, "qwen3": 128}  # where config.json may leave them out

DecoderPath = Literal["fast", "portable"]


def shape_of(
    config: Mapping[str, Any],
    number_bytes: int,
    quantization: Literal["nf4", "int8"] | None,
    path: DecoderPath | None = None,
    saves_in_bf16: bool = False,
    flex_attention: bool = False,
) -> ModelShape | None:
    """Return the shape, or None if the configuration does not have the usual numbers of a transformer.

    All layers count as alike: with experts, if the model has any. Without a `path`, the model's type
    decides on it. A model of texts and images counts as its text model. `flex_attention` says whether the
    device has it.
    """
    of_texts = config.get("text_config")
    text: Mapping[str, Any] = of_texts if isinstance(of_texts, Mapping) and of_texts else config
    named = {name: text.get(name) for name in NEEDED}
    named["intermediate_size"] = named["intermediate_size"] or text.get("moe_intermediate_size")
    numbers = [number for number in named.values() if _is_size(number)]
    if len(numbers) < len(NEEDED):
        return None
    layers, hidden, inner, heads, vocabulary = numbers
    kind = str(text.get("model_type") or config.get("model_type") or "")
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
        path=path or ("fast" if kind in FAST_TYPES else "portable"),
        saves_in_bf16=saves_in_bf16,
        norms=4 if kind.startswith(FOUR_NORMS) and experts is None else 2,
        norms_of_heads=kind.startswith(NORMALISED_HEADS),
        keeps_scores=None if flex_attention else _keeps_scores(text, kind),
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
