"""Which path through the engine a base model is expected to take, by its configuration alone.

A trainer decides when it loads the model (`worker/engine/base/choose.py`). It tries out every model that the
fast path does not take, so what is said here of models that no test holds is a guess.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from core.base_files.loadable import text_of

EnginePath = Literal["fast", "portable", "plain"]

FAST_TYPES = ("gemma3", "gemma3_text", "llama", "ministral3", "mistral", "phi3", "qwen2", "qwen3")
WITH_STATES = (
    *("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_next"),
    *("granitemoehybrid", "lfm2", "lfm2_moe", "nemotron_h"),
)
PORTABLE_TYPES = ("gemma2", "gemma4", "gemma4_text", "gpt2", "gpt_oss", "granite", "qwen3_moe", *WITH_STATES)
PLAIN_TYPES = ("llama4_text",)
"""The types of text models that tests hold on each of the paths"""
STATES = ("mamba_d_state", "ssm_state_size", "state_size")
"""Fields of models whose states may be of a kind that the engine does not know, as Mamba 1"""
LENGTH_DEPENDENT = ("dynamic", "longrope")


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
    by_length = any(each.get("rope_type") in LENGTH_DEPENDENT for each in rotations)
    has_states = kind not in WITH_STATES and any(text.get(name) for name in STATES)
    if kind in PLAIN_TYPES or by_length or has_states:
        return Expected("plain", is_tested)
    in_part = any(each.get("partial_rotary_factor", 1) != 1 for each in (text, *rotations))
    if kind not in FAST_TYPES or in_part or any(_scales_queries(each, max_length) for each in rotations):
        return Expected("portable", is_tested)
    return Expected("fast", is_tested)


def _rotations(text: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parameters of each rotation. Older configurations have other names for them and the type."""
    found = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(found, Mapping):
        return
    for each in (found, *found.values()):
        if isinstance(each, Mapping):
            yield {"rope_type": each.get("type"), **each}


def _scales_queries(rotation: Mapping[str, Any], max_length: int) -> bool:
    """Return whether queries within rows of this length are scaled by their position, as in Ministral 3."""
    unscaled = rotation.get("original_max_position_embeddings")
    return bool(rotation.get("llama_4_scaling_beta")) and isinstance(unscaled, int) and unscaled < max_length
