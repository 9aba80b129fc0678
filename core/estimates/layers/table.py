"""A model's layers one by one, as its configuration tells them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from core.estimates.layers.shape import LayerOfExperts, LayerShape, Recurrence

Names = tuple[tuple[str, str], ...]

LARGEST_SIZE = 2**31
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
ATTENTION, SLIDING, LINEAR, CONVOLUTION = "full_attention", "sliding_attention", "linear_attention", "conv"
MLP, MOE = "mlp", "moe"
RENAMED = {"mamba": LINEAR, "attention": ATTENTION}
LETTERS = {"M": LINEAR, "*": ATTENTION, "-": MLP, "E": MOE}
"""Older names of layers' types, and the letters of Nemotron's patterns"""
CHOSEN = ("num_experts_per_tok", "top_k_experts")
SHARED_INNER = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
)
BESIDE_MLP = ("gemma4",)  # beginnings of types whose layers have an MLP beside their experts
UNGATED = ("nemotron",)
GATED_ATTENTION = ("qwen3_5", "qwen3_next")
GATED_SHARED = ("qwen2_moe", "qwen3_5_moe", "qwen3_next")
FOUR_NORMS = ("gemma2", "gemma3", "gemma4", "glm4", "olmo2", "olmo3")
"""OLMo's two norms behind keep as much as four"""
TWO_NORMS = ("glm4_moe",)
BESIDE_NORMS = 4  # of the experts that are beside an MLP, with that of their router
HALVES = ("mlp.gate_proj", "mlp.up_proj")
MLPS = "mlp", "mlp.shared_expert"
QKV = tuple(f"self_attn.{name}_proj" for name in "qkv")
NAMES: Mapping[str, Names] = {
    "gemma4": (("mlp.experts.", "experts."),),
    "glm4_moe": (("mlp.shared_expert.", "mlp.shared_experts."),),
    "glm": tuple((name, "mlp.gate_up_proj") for name in HALVES),
    "phi3": (
        *((name, "self_attn.qkv_proj") for name in QKV),
        *((name, "mlp.gate_up_proj") for name in HALVES),
    ),
    "granitemoehybrid": (
        ("mlp.experts.", "block_sparse_moe.experts."),
        *((f"{mlp}.{each}_proj", "shared_mlp.input_linear") for mlp in MLPS for each in ("gate", "up")),
        *((f"{mlp}.down_proj", "shared_mlp.output_linear") for mlp in MLPS),
    ),
    "lfm2": (
        ("mlp.gate_proj", "feed_forward.w1"),
        ("mlp.up_proj", "feed_forward.w3"),
        ("mlp.down_proj", "feed_forward.w2"),
        ("mlp.experts.", "feed_forward.experts."),
        ("self_attn.o_proj", "self_attn.out_proj"),
    ),
    "nemotron_h": (
        ("mlp.shared_expert.", "mixer.shared_experts."),
        *((f"{module}.", "mixer.") for module in ("self_attn", "mamba", "mlp")),
    ),
    "qwen3_next": (
        ("linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz"),
        ("linear_attn.in_proj_z", "linear_attn.in_proj_qkvz"),
        ("linear_attn.in_proj_b", "linear_attn.in_proj_ba"),
        ("linear_attn.in_proj_a", "linear_attn.in_proj_ba"),
    ),
}
"""Names of the modules in a layer, by the beginnings of `model_type`; the first that fits holds"""


def is_size(found: Any) -> TypeGuard[int]:
    """Return whether this can be a number of layers, heads or neurons: a stranger may have written it."""
    return isinstance(found, int) and not isinstance(found, bool) and 0 < found <= LARGEST_SIZE


def names_of(kind: str) -> Names:
    """Return the names of modules in models of this type, where they differ from Llama's."""
    return next((names for beginning, names in NAMES.items() if kind.startswith(beginning)), ())


def layers_of(
    text: Mapping[str, Any], kind: str, usual: LayerShape, hidden: int, count: int
) -> Sequence[LayerShape] | None:
    """Return the layers of a text model; None if one of them has not the usual numbers.

    `usual` has the attention and the MLP that a layer has unless the configuration says more.
    """
    experts = experts_of(text, kind)
    if text.get("moe_latent_size") or (experts is None and any(text.get(name) for name in EXPERTS)):
        return None
    layers = []
    for number, layer_type in enumerate(types_of(text, kind, count)):
        has_experts = experts is not None and _is_sparse(text, kind, number, layer_type)
        layer = _with_experts(usual, experts) if experts and has_experts else usual
        if kind.startswith("gemma4"):
            layer = _of_gemma(layer, text, number, layer_type, count)
        if layer_type in (LINEAR, CONVOLUTION):
            recurrence = _recurrence(text, kind, layer_type, hidden)
            if recurrence is None:
                return None
            layer = replace(layer, heads=0, key_heads=0, gates_output=False, recurrence=recurrence)
        layers.append(_block(layer, layer_type) if kind.startswith(UNGATED) else layer)
    return layers


def usual_norms(kind: str) -> int:
    """Return how many norms of the hidden width a layer of these models has."""
    return 4 if kind.startswith(FOUR_NORMS) and not kind.startswith(TWO_NORMS) else 2


def inner_of(text: Mapping[str, Any], kind: str) -> Any:
    """Return the width of the MLP. LFM 2 takes two thirds of what its configuration says, and rounds up."""
    inner = text.get("intermediate_size") or text.get("block_ff_dim") or text.get("moe_intermediate_size")
    if kind == "lfm2" and is_size(inner) and text.get("block_auto_adjust_ff_dim", True):
        inner = int((text.get("block_ffn_dim_multiplier") or 1) * int(2 * inner / 3))
        multiple = text.get("block_multiple_of") or 256
        inner = multiple * -(-inner // multiple)
    if kind == "granitemoehybrid":
        inner = text.get("shared_intermediate_size") or inner
    return inner


def types_of(text: Mapping[str, Any], kind: str, count: int) -> Sequence[str]:
    """Return the layers' types, also where the configuration only has a rule for them."""
    found = text.get("layer_types") or text.get("layers_block_type")
    if isinstance(pattern := text.get("hybrid_override_pattern"), str) and not found:
        found = [LETTERS.get(letter, letter) for letter in pattern]
    if isinstance(found, list) and len(found) == count:
        return [RENAMED.get(str(each), str(each)) for each in found]
    numbers = range(count)
    if kind.startswith(GATED_ATTENTION):
        every = _size(text, "full_attention_interval", 4)
        return [LINEAR if (number + 1) % every else ATTENTION for number in numbers]
    if kind.startswith("gemma4"):
        return [SLIDING if (number + 1) % 6 and number + 1 < count else ATTENTION for number in numbers]
    if kind.startswith("lfm2") and isinstance(full := text.get("full_attn_idxs"), list):
        return [ATTENTION if number in full else CONVOLUTION for number in numbers]
    return [LINEAR if kind == "granitemoehybrid" else ATTENTION] * count


def experts_of(text: Mapping[str, Any], kind: str) -> LayerOfExperts | None:
    """Return the experts of a layer; None without experts, or without the usual numbers."""
    count, chosen = _first(text, EXPERTS), _first(text, CHOSEN)
    inner = _first(text, ("moe_intermediate_size", "intermediate_size"))
    if not (is_size(count) and is_size(chosen) and is_size(inner)):
        return None
    shared = _first(text, SHARED_INNER)
    if shared is None and is_size(several := text.get("n_shared_experts")):
        shared = several * inner
    return LayerOfExperts(
        count,
        min(chosen, count),
        inner,
        shared if is_size(shared) else 0,
        gated=not kind.startswith(UNGATED),
        gates_shared=kind.startswith(GATED_SHARED),
        beside_mlp=kind.startswith(BESIDE_MLP),
    )


def _is_sparse(text: Mapping[str, Any], kind: str, number: int, layer_type: str) -> bool:
    """Return whether this layer has experts, in a model that has some."""
    types = text.get("mlp_layer_types")
    if isinstance(types, list) and number < len(types):
        return types[number] != "dense"
    if kind.startswith(UNGATED):
        return layer_type == MOE
    only_mlp = text.get("mlp_only_layers")
    if isinstance(only_mlp, list) and number in only_mlp:
        return False
    usual = 2 if kind == "lfm2_moe" else 1 if kind.startswith("glm4_moe") else 0
    dense = _first_given(text, ("first_k_dense_replace", "num_dense_layers"), usual)
    return number >= dense and (number + 1) % _size(text, "decoder_sparse_step", 1) == 0


def _with_experts(layer: LayerShape, experts: LayerOfExperts) -> LayerShape:
    if experts.beside_mlp:
        return replace(layer, experts=experts, norms=layer.norms + BESIDE_NORMS)
    return replace(layer, experts=experts, inner=experts.shared_inner)


def _block(layer: LayerShape, layer_type: str) -> LayerShape:
    """Return a layer of Nemotron H, which has one norm, and a recurrence, attention, experts or an MLP."""
    if layer_type in (MOE, MLP):
        return replace(layer, heads=0, key_heads=0, norms=1, gated=False)
    return replace(layer, inner=0, norms=1)


def _of_gemma(
    layer: LayerShape, text: Mapping[str, Any], number: int, layer_type: str, count: int
) -> LayerShape:
    """Return a layer of Gemma 4: full attention has heads of its own, and the last layers borrow keys.

    A configuration names the heads by layer, or once for all layers with full attention.
    """
    is_full, equal = layer_type == ATTENTION, bool(text.get("attention_k_eq_v"))
    own: Any = {}
    if isinstance(by_layer := text.get("per_layer_config"), Mapping):
        own = next((each for key, each in by_layer.items() if str(key).isdigit() and int(key) == number), {})
    elif is_full:
        own = {"head_dim": text.get("global_head_dim") or 512}
        own |= {"num_key_value_heads": text.get("num_global_key_value_heads")} if equal else {}
    borrows = number >= count - _size(text, "num_kv_shared_layers", 0)
    return replace(
        layer,
        head_size=_size(own, "head_dim", layer.head_size),
        key_heads=_size(own, "num_key_value_heads", layer.key_heads),
        keys_are="borrowed" if borrows else "values" if equal and is_full else "own",
        inner=layer.inner * (2 if borrows and text.get("use_double_wide_mlp") else 1),
        own_input=_size(text, "hidden_size_per_layer_input", 0),
    )


def _recurrence(text: Mapping[str, Any], kind: str, layer_type: str, hidden: int) -> Recurrence | None:
    """Return what such a layer has in the place of attention, with the sizes that transformers takes."""
    if layer_type == CONVOLUTION:
        return Recurrence("convolution", hidden, _size(text, "conv_L_cache", 3), hidden)
    if kind.startswith(GATED_ATTENTION):
        keys, heads = _size(text, "linear_num_key_heads", 16), _size(text, "linear_num_value_heads", 32)
        key_size = _size(text, "linear_key_head_dim", 128)
        values = heads * _size(text, "linear_value_head_dim", 128)
        kernel = _size(text, "linear_conv_kernel_dim", 4)
        return Recurrence("delta rule", 2 * keys * key_size + values, kernel, values, heads, key_size, keys)
    if kind == "granitemoehybrid":
        heads, key_heads = _size(text, "mamba_n_heads", 128), _size(text, "mamba_n_groups", 1)
        key_size, kernel = _size(text, "mamba_d_state", 256), _size(text, "mamba_d_conv", 4)
        values = hidden * _size(text, "mamba_expand", 2)
    elif kind == "nemotron_h":
        heads, key_heads = _size(text, "mamba_num_heads", 128), _size(text, "n_groups", 8)
        key_size, kernel = _size(text, "ssm_state_size", 128), _size(text, "conv_kernel", 4)
        values = heads * _size(text, "mamba_head_dim", 64)
    else:
        return None
    convolved = values + 2 * key_heads * key_size
    adapts_output = kind != "nemotron_h"
    return Recurrence("mamba2", convolved, kernel, values, heads, key_size, key_heads, adapts_output)


def _first(text: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((found for name in names if (found := text.get(name))), None)


def _first_given(text: Mapping[str, Any], names: Sequence[str], usual: int) -> int:
    """Return the first that is there as a number, which may be 0."""
    return next((found for name in names if isinstance(found := text.get(name), int)), usual)


def _size(text: Any, name: str, usual: int) -> int:
    """Return a size, or the usual one if the configuration has none."""
    found = text.get(name) if isinstance(text, Mapping) else None
    return found if is_size(found) else usual
