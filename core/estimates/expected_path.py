"""Which path through the engine a base model is expected to take, by its configuration alone.

A trainer decides when it loads the model (`worker/engine/base/choose.py`). It tries out every model that the
fast path does not take, so what is said here of models that no test holds is a guess.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from core.base_files.loadable import text_of
from core.estimates.layers.table import EXPERTS

EnginePath = Literal["fast", "portable", "plain"]

FAST_EXPERT_TYPES = ("glm4_moe", "gpt_oss", "mixtral", "olmoe", "qwen3_moe")
"""Types whose layers have experts in the MLP's place. Other types with experts are not fast"""
FAST_TYPES = (
    *("ernie4_5", "gemma", "gemma2", "gemma3", "gemma3_text", "gemma4", "gemma4_text", "glm", "glm4"),
    *("granite", "granitemoehybrid", "helium", "llama", "ministral", "ministral3", "mistral", "olmo2"),
    *("olmo3", "phi3", "qwen2", "qwen3", "seed_oss", "smollm3", *FAST_EXPERT_TYPES),
)
WITH_STATES = (
    *("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_next"),
    *("granitemoehybrid", "lfm2", "lfm2_moe", "nemotron_h"),
)
EXPERT_TYPES = (
    *("gemma4_text", "glm4_moe", "gpt_oss", "granitemoehybrid", "lfm2_moe", "mixtral", "nemotron_h"),
    *("olmoe", "qwen3_5_moe_text", "qwen3_moe", "qwen3_next"),
)
"""The types of text models of which tests hold that their experts train"""
PORTABLE_TYPES = ("exaone4", "gemma4_text", "gpt2", *WITH_STATES)
PLAIN_TYPES = ("llama4_text",)
"""The types of text models that tests hold on each of the paths"""
STATES = ("mamba_d_state", "ssm_state_size", "state_size")
"""Fields of models whose states may be of a kind that the engine does not know, as Mamba 1"""
LAYERS = ("full_attention", "sliding_attention", "attention")
GATES = ("silu", "gelu_pytorch_tanh")
"""The types of layers, and the functions of a gate, that the fast path computes"""
LENGTH_DEPENDENT = ("dynamic", "longrope")
FIRST_CONTEXT = "original_max_position_embeddings"
"""Rotations that change with the length of a row that is longer than the first context"""


class Expected(NamedTuple):
    """The path. `is_tested` says whether a test holds models of this type."""

    path: EnginePath
    is_tested: bool


def expected_path(config: Mapping[str, Any], max_length: int = 0) -> Expected:
    """Return the path of the model, or of its text model, for rows of at most `max_length` tokens."""
    text = text_of(config)
    kind = str(text.get("model_type") or config.get("model_type") or "")
    is_tested = kind in (*FAST_TYPES, *PORTABLE_TYPES, *PLAIN_TYPES)
    rotations = list(_rotations(text))
    layers = text.get("layer_types")
    types = layers if isinstance(layers, list) else []
    has_states = kind not in WITH_STATES and any(text.get(name) for name in STATES)
    if kind in PLAIN_TYPES or has_states or any(_changes(text, each, max_length) for each in rotations):
        return Expected("plain", is_tested)
    gate = text.get("hidden_activation") or text.get("hidden_act") or GATES[0]
    if kind in FAST_TYPES and kind not in FAST_EXPERT_TYPES and any(text.get(name) for name in EXPERTS):
        return Expected("portable", kind in PORTABLE_TYPES)
    is_fast = (
        kind in FAST_TYPES
        and (bool(types) or kind not in WITH_STATES)  # transformers' own layers are those with states
        and all(each in LAYERS for each in types)
        and (gate in GATES or kind == "gemma")  # the first Gemma's "gelu" is the other one
    )
    return Expected("fast" if is_fast else "portable", is_tested)


def _rotations(text: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parameters of each rotation. Older configurations have other names for them and the type."""
    found = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(found, Mapping):
        return
    for each in (found, *found.values()):
        if isinstance(each, Mapping):
            yield {"rope_type": each.get("type"), **each}


def _changes(text: Mapping[str, Any], rotation: Mapping[str, Any], max_length: int) -> bool:
    """Return whether the rotation of a row of this length depends on how long the row is."""
    first = {**rotation, **text}.get(FIRST_CONTEXT)
    is_dependent = rotation.get("rope_type") in LENGTH_DEPENDENT
    return is_dependent and max_length > (first if isinstance(first, int) else 0)
