"""The configuration of a text model under the names by which llama.cpp reads it."""

from collections.abc import Callable, Mapping
from typing import Any

import gguf

from worker.tasks.export.gguf_files.architecture import (
    ATTENTION,
    PERIODIC,
    is_sliding,
    period_of,
    usual_layer,
)
from worker.tasks.export.gguf_files.rotation import FULL, head_size, rotation_keys

# The attributes of configurations that hold one value, by the writer's name for it
NAMES: Mapping[str, tuple[str, ...]] = {
    "block_count": ("num_hidden_layers",),
    "context_length": ("max_position_embeddings",),
    "vocab_size": ("vocab_size",),
    "embedding_length": ("hidden_size",),
    "embedding_length_per_layer_input": ("hidden_size_per_layer_input",),
    "feed_forward_length": ("intermediate_size", "moe_intermediate_size"),
    "head_count": ("num_attention_heads",),
    "head_count_kv": ("num_key_value_heads",),
    "shared_kv_layers": ("num_kv_shared_layers",),
    "layer_norm_rms_eps": ("rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "attention_scale": ("attention_multiplier",),
    "embedding_scale": ("embedding_multiplier",),
    "residual_scale": ("residual_multiplier",),
    "logit_scale": ("logits_scaling",),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts"),
    "expert_used_count": ("num_experts_per_tok", "top_k_experts"),
    "expert_shared_count": ("n_shared_experts",),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_feed_forward_length": (
        "shared_expert_intermediate_size",
        "shared_intermediate_size",
        "moe_shared_expert_intermediate_size",
    ),
    "expert_weights_scale": ("routed_scaling_factor",),
    "expert_weights_norm": ("norm_topk_prob",),
    "leading_dense_block_count": ("first_k_dense_replace", "num_dense_layers"),
    "shortconv_l_cache": ("conv_L_cache",),
    "ssm_conv_kernel": ("linear_conv_kernel_dim", "mamba_d_conv", "conv_kernel"),
    "ssm_state_size": ("linear_key_head_dim", "mamba_d_state", "ssm_state_size"),
    "ssm_group_count": ("linear_num_key_heads", "mamba_n_groups", "n_groups"),
    "ssm_time_step_rank": ("linear_num_value_heads", "mamba_n_heads", "mamba_num_heads"),
}
Keys = dict[str, Any]


def add_configuration(writer: gguf.GGUFWriter, config: Any, architecture: str) -> None:
    """Add the sizes and constants of the model. Raises JobError for a rotation that is not converted."""
    usual = usual_layer(config)
    held = {key: _first(usual, names) for key, names in NAMES.items()}
    head = head_size(usual)
    keys = {
        **held,
        "key_length": head,
        "value_length": head,
        **_windows(config),
        **rotation_keys(usual, architecture),
        **SPECIAL.get(config.model_type, _nothing)(config),
    }
    for key, value in keys.items():
        if value is not None:
            getattr(writer, f"add_{key}")(value)


def _first(config: Any, names: tuple[str, ...]) -> Any:
    """Return the first of these attributes that the configuration has."""
    return next((found for name in names if (found := getattr(config, name, None)) is not None), None)


def _windows(config: Any) -> Keys:
    """Return which layers attend to a window only."""
    if not any(sliding := is_sliding(config)):
        return {}
    pattern = period_of(sliding) if config.model_type in PERIODIC else sliding
    return {"sliding_window": config.sliding_window, "sliding_window_pattern": pattern}


def _nothing(_: Any) -> Keys:
    return {}


def _key_heads(config: Any) -> list[int]:
    """Return the heads of keys by layer: none where a layer has a state in the place of attention."""
    heads = config.num_key_value_heads
    return [heads if each in ATTENTION else 0 for each in config.layer_types]


def _delta_rule(config: Any) -> Keys:
    return {
        "ssm_inner_size": config.linear_value_head_dim * config.linear_num_value_heads,
        "full_attention_interval": period_of([each not in ATTENTION for each in config.layer_types]),
    }


def _delta_rule_with_sections(config: Any) -> Keys:
    # Which axes of an image's position rotate which numbers of a head. All are alike for texts
    sections = config.rope_parameters.get("mrope_section", [11, 11, 10])
    return {**_delta_rule(config), "rope_dimension_sections": [*sections, 0]}


def _gpt_oss(config: Any) -> Keys:
    return {"expert_feed_forward_length": config.intermediate_size}


def _sigmoid_router(_: Any) -> Keys:
    return {"expert_gating_func": gguf.ExpertGatingFuncType.SIGMOID}


def _lfm2(config: Any) -> Keys:
    inner = config.intermediate_size
    if config.block_auto_adjust_ff_dim:
        inner = int(2 * inner / 3)
        if config.block_ffn_dim_multiplier is not None:
            inner = int(config.block_ffn_dim_multiplier * inner)
            inner = -(-inner // config.block_multiple_of) * config.block_multiple_of
    return {"head_count_kv": _key_heads(config), "feed_forward_length": inner}


def _lfm2_moe(config: Any) -> Keys:
    return {"head_count_kv": _key_heads(config), **_sigmoid_router(config)}


def _granite_hybrid(config: Any) -> Keys:
    experts = config.num_local_experts
    keys: Keys = {"rope_scaling_finetuned": config.position_embedding_type == "rope"}
    if not experts:
        keys |= {
            "feed_forward_length": config.shared_intermediate_size,
            "expert_count": None,
            "expert_used_count": None,
            "expert_shared_feed_forward_length": None,
        }
    if set(config.layer_types) <= set(ATTENTION):
        return keys
    inner = config.mamba_n_heads * config.mamba_d_head
    return {**keys, "head_count_kv": _key_heads(config), "ssm_inner_size": inner}


def _nemotron(config: Any) -> Keys:
    inner = {"mlp": config.intermediate_size, "moe": config.moe_intermediate_size}
    keys: Keys = {
        "head_count_kv": _key_heads(config),
        "feed_forward_length": [inner.get(each, 0) for each in config.layer_types],
        "ssm_inner_size": config.mamba_num_heads * config.mamba_head_dim,
        "layer_norm_eps": config.layer_norm_epsilon,
    }
    if "moe" in config.layer_types:
        return keys
    return {**keys, "expert_count": None, "expert_used_count": None, "expert_shared_count": None}


def _gemma4(config: Any) -> Keys:
    layers, usual = list(config.per_layer_config), usual_layer(config)
    whole, shared = config.per_layer_config[FULL].head_dim, len(layers) - config.num_kv_shared_layers
    wide = 2 if config.use_double_wide_mlp else 1
    return {
        "key_length": whole,
        "value_length": whole,
        "key_length_swa": usual.head_dim,
        "value_length_swa": usual.head_dim,
        "rope_dimension_count": whole,  # with factors for what does not turn
        "rope_dimension_count_swa": usual.head_dim,
        "head_count_kv": [layer.num_key_value_heads for layer in layers],
        "feed_forward_length": [
            config.intermediate_size * (1 if number < shared else wide) for number in range(len(layers))
        ],
        "embedding_length_per_layer_input": config.hidden_size_per_layer_input or 0,
        "final_logit_softcapping": config.final_logit_softcapping or 0.0,  # llama.cpp's own is 30
    }


def _ministral3(config: Any) -> Keys:
    return {"attn_temperature_scale": float(config.rope_parameters["llama_4_scaling_beta"])}


SPECIAL: Mapping[str, Callable[[Any], Keys]] = {
    "qwen3_next": _delta_rule,
    "qwen3_5_text": _delta_rule_with_sections,
    "qwen3_5_moe_text": _delta_rule_with_sections,
    "gpt_oss": _gpt_oss,
    "ministral3": _ministral3,
    "glm4_moe": _sigmoid_router,
    "lfm2": _lfm2,
    "lfm2_moe": _lfm2_moe,
    "granitemoehybrid": _granite_hybrid,
    "nemotron_h": _nemotron,
    "gemma4_text": _gemma4,
}
"""What a family needs beside, or in another way"""
