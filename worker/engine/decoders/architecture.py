"""In what the layers of the fast path's architectures differ, read from transformers' modules.

Every layer is Llama's: attention, then a gated MLP, with an RMS norm before each. It may have more: biases,
norms of queries and keys before their rotation, a window that bounds how far a token sees, and norms after
attention and after the MLP. Its projections may be merged in the source weights already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from worker.engine.kernels.attention import Heads
from worker.engine.kernels.elementwise import GELU, SILU

GEMMA = "Gemma3ForCausalLM"
SUPPORTED = (
    GEMMA,
    "LlamaForCausalLM",
    "Ministral3ForCausalLM",
    "MistralForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)
# Architectures that keep the window of all layers in the configuration; in others each layer knows its own
ONE_WINDOW = ("Ministral3ForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM")
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


ACTIVATIONS = {"silu": SILU, "gelu_pytorch_tanh": GELU}


@dataclass(frozen=True)
class AttentionKind:
    """What the layers of one kind share.

    `window` is the number of positions that a token sees, itself included; None for all. `rotation` is the
    name of the kind's rotation in a model with several, else None.
    """

    window: int | None
    rotation: str | None = None


@dataclass(frozen=True)
class Norms:
    """The weights of a layer's norms; None for a norm that it has not.

    `heads_HE` are those of queries and keys, for each query head and then for each key head.
    """

    before_attention_D: Tensor
    before_mlp_D: Tensor
    after_attention_D: Tensor | None
    after_mlp_D: Tensor | None
    heads_HE: Tensor | None

    @classmethod
    def of(cls, layer: Any, heads: Heads) -> "Norms":
        """Read them from a layer of transformers. Gemma gives other names to the norms around the MLP."""
        input_norm, attention_norm = layer.input_layernorm, layer.post_attention_layernorm
        if not hasattr(layer, "pre_feedforward_layernorm"):
            return cls(
                norm_weight(input_norm), norm_weight(attention_norm), None, None, _of_heads(layer, heads)
            )
        return cls(
            norm_weight(input_norm),
            norm_weight(layer.pre_feedforward_layernorm),
            norm_weight(attention_norm),
            norm_weight(layer.post_feedforward_layernorm),
            _of_heads(layer, heads),
        )


def architecture_of(config: Any) -> str:
    """Return the name of transformers' causal class for a text model, be it a part of a larger one."""
    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type, str(config.model_type))


def why_unsupported(config: Any, max_length: int) -> str | None:
    """Return why the fast path would not compute the same as transformers; None if it would.

    `config` is that of the text model, and `max_length` the most tokens of a row.
    """
    architecture = architecture_of(config)
    if architecture not in SUPPORTED:
        return f"its architecture is {architecture}"
    activation = activation_name(config)
    unsupported = {
        "hidden_act": activation not in ACTIVATIONS and activation,
        "use_bidirectional_attention": getattr(config, "use_bidirectional_attention", False),
    }
    for rotation in _rotations(config):
        rope_type, part = rotation.get("rope_type"), rotation.get("partial_rotary_factor", 1)
        unsupported["rope_type"] = rope_type in LENGTH_DEPENDENT and rope_type
        unsupported["partial_rotary_factor"] = part != 1 and part
        unsupported["max_length"] = _beyond_unscaled_queries(rotation, max_length)
        if any(unsupported.values()):
            break
    return next((f"its {field} is {value}" for field, value in unsupported.items() if value), None)


def groups_of(layer: nn.Module) -> Mapping[str, Sequence[str]]:
    """Return the modules that read the same input, by the name of their group."""
    modules = {name for name, _ in layer.named_modules()}
    return GROUPS | {key: names for key, names in MERGED_ALREADY.items() if modules.issuperset(names)}


def attention_kind(layer: Any, config: Any) -> AttentionKind:
    """Return the kind of a layer's attention."""
    own = config if architecture_of(config) in ONE_WINDOW else layer.self_attn
    several = architecture_of(config) == GEMMA
    rotation = layer.self_attn.layer_type if several else None
    return AttentionKind(getattr(own, "sliding_window", None) or None, rotation)


def activation_name(config: Any) -> str:
    """Return the name of the gate's function, for which Gemma has a field of its own."""
    return str(config.hidden_activation if architecture_of(config) == GEMMA else config.hidden_act)


def attention_scale(config: Any, heads: Heads) -> float:
    """Return the factor of attention's scores."""
    size = config.query_pre_attn_scalar if architecture_of(config) == GEMMA else heads.size
    return float(size**-0.5)


def embedding_scale(embedding: Any) -> float:
    """Return the factor of each token's embedding. Gemma rounds it to the weight's type."""
    scale: Tensor | None = getattr(embedding, "embed_scale", None)
    return 1.0 if scale is None else scale.to(embedding.weight.dtype).item()


def norm_weight(norm: Any) -> Tensor:
    """Return what a norm multiplies with. Gemma's norms multiply with 1 + weight, in fp32."""
    weight: Tensor = norm.weight
    return 1 + weight.float() if type(norm).__name__ == "Gemma3RMSNorm" else weight


def _of_heads(layer: Any, heads: Heads) -> Tensor | None:
    if not hasattr(layer.self_attn, "q_norm"):
        return None
    q_E, k_E = norm_weight(layer.self_attn.q_norm), norm_weight(layer.self_attn.k_norm)
    return torch.cat([q_E.expand(heads.query, -1), k_E.expand(heads.key, -1)])


def _beyond_unscaled_queries(rotation: Mapping[str, Any], max_length: int) -> str | None:
    """Return why some queries would be scaled by their position, as in Ministral 3; None if none would."""
    unscaled = rotation.get("original_max_position_embeddings")
    if not rotation.get("llama_4_scaling_beta") or not unscaled or max_length <= unscaled:
        return None
    return f"{max_length:,}, and queries are scaled from position {unscaled:,} on"


def _rotations(config: Any) -> list[Mapping[str, Any]]:
    """Return the parameters of each of the model's rotations."""
    found = getattr(config, "rope_parameters", None) or {}
    return list(found.values()) if architecture_of(config) == GEMMA else [found]
