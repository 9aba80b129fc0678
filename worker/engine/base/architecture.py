"""In what the layers of the fast path's architectures differ, read from transformers' modules.

Every layer is Llama's: attention, then a gated MLP, with an RMS norm before each. It may have more: biases,
norms of queries and keys before their rotation, and a window that bounds how far a token sees. Its
projections may be merged in the source weights already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.kernels.attention import Heads

SUPPORTED = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)
# Architectures that keep the window of all layers in the configuration; in others each layer knows its own
ONE_WINDOW = ("MistralForCausalLM", "Phi3ForCausalLM")
# Projections that read the same input, by the names that transformers and PEFT give them
GROUPS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
MERGED_ALREADY = {"qkv": ("self_attn.qkv_proj",), "gate_up": ("mlp.gate_up_proj",)}
# Rotations that depend on the longest row: it would change the results of the rows beside it
LENGTH_DEPENDENT = ("dynamic", "longrope")


@dataclass(frozen=True)
class AttentionKind:
    """What the layers of one kind share: how many positions a token sees, itself included; None for all."""

    window: int | None


def architecture_of(config: Any) -> str:
    """Return the name of transformers' class for the model."""
    return str((config.architectures or [config.model_type])[0])


def why_unsupported(config: Any) -> str | None:
    """Return why the fast path would not compute the same as transformers; None if it would."""
    architecture = architecture_of(config)
    if architecture not in SUPPORTED:
        return f"its architecture is {architecture}"
    rotation = getattr(config, "rope_parameters", None) or {}
    rope_type, rotated = rotation.get("rope_type"), rotation.get("partial_rotary_factor")
    unsupported = {
        "hidden_act": config.hidden_act != "silu" and config.hidden_act,
        "rope_type": rope_type in LENGTH_DEPENDENT and rope_type,
        "partial_rotary_factor": rotated != 1 and rotated,
    }
    return next((f"its {field} is {value}" for field, value in unsupported.items() if value), None)


def groups_of(layer: nn.Module) -> Mapping[str, Sequence[str]]:
    """Return the modules that read the same input, by the name of their group."""
    modules = {name for name, _ in layer.named_modules()}
    return GROUPS | {key: names for key, names in MERGED_ALREADY.items() if modules.issuperset(names)}


def attention_kind(layer: Any, config: Any) -> AttentionKind:
    """Return the kind of a layer's attention."""
    own = config if architecture_of(config) in ONE_WINDOW else layer.self_attn
    return AttentionKind(getattr(own, "sliding_window", None) or None)


def head_norms(layer: Any, heads: Heads) -> Tensor | None:
    """Return the weights of the norms of each query and key head, [H + J, E]; None without such norms."""
    if not hasattr(layer.self_attn, "q_norm"):
        return None
    q_E, k_E = layer.self_attn.q_norm.weight, layer.self_attn.k_norm.weight
    return torch.cat([q_E.expand(heads.query, -1), k_E.expand(heads.key, -1)])
