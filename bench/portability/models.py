"""Tiny models of the families of docs/models.md that runtimes load in different ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import transformers
from transformers import PretrainedConfig

SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "initializer_range": 0.15,  # wide enough that one token is clearly the likeliest
}
TOWER: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
LINEAR, FULL, SLIDING, CONV, MOE = "linear_attention", "full_attention", "sliding_attention", "conv", "moe"
WINDOWS = {"layer_types": [SLIDING, SLIDING, FULL], "sliding_window": 16}
NO_WINDOW = {"sliding_window": None}
GEMMA = {"query_pre_attn_scalar": 32}
GEMMA_4 = {
    **{**WINDOWS, "global_head_dim": 64, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0},
}
ROPE = {"rope_type": "default", "rope_theta": 1e4}
HALF_ROTATED = {"attention_bias": True, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}}
YARN = {
    **{"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0},
    **{"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.5},
    "original_max_position_embeddings": 256,
}
ROUNDED_YARN = {  # llama.cpp rounds the range of frequencies in any case
    **{"rope_type": "yarn", "rope_theta": 150_000.0, "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0},
    **{"original_max_position_embeddings": 4096, "truncate": True},
}
FACTORS = {
    **{"embedding_multiplier": 3.0, "attention_multiplier": 0.1},
    **{"residual_multiplier": 0.4, "logits_scaling": 0.5},
}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
SHARED_EXPERT = {**EXPERTS, "shared_expert_intermediate_size": 64}
LOCAL = {"num_local_experts": 8, "num_experts_per_tok": 2}
ROUTED = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
DELTA_RULE = {
    **{"linear_key_head_dim": 32, "linear_value_head_dim": 32},
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "layer_types": [LINEAR, LINEAR, FULL]},
}
MAMBA = {"mamba_n_heads": 8, "mamba_n_groups": 1, "mamba_d_state": 32, "layer_types": [LINEAR, LINEAR, FULL]}
MIXERS = {
    **{"mamba_num_heads": 4, "mamba_head_dim": 32, "n_groups": 1, "ssm_state_size": 32},
    **{"moe_shared_expert_intermediate_size": 64, "layer_types": [LINEAR, MOE, FULL]},
}
LFM_2 = {"conv_dim": 128, "block_dim": 128, "block_auto_adjust_ff_dim": False}  # the names that vLLM reads
OF_IMAGES = {"image_token_id": 3, "video_token_id": 3}  # no prompt has this token
QWEN_TOWER = {"depth": 1, "num_heads": 2, "out_hidden_size": 128, "num_position_embeddings": 16}


@dataclass(frozen=True)
class TinyModel:
    """A family, and what its configuration has beside `SIZES`.

    One of texts and images has these in its `text_config`, a `tower`, and fields of its `own`.
    """

    title: str
    config: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    tower: Mapping[str, Any] | None = None
    own: Mapping[str, Any] = field(default_factory=dict)

    def configuration(self, **more: Any) -> PretrainedConfig:
        make = getattr(transformers, f"{self.config}Config")
        text = {**SIZES, **self.fields, **more}
        if self.tower is None:
            return make(**text)
        return make(text_config=text, vision_config={**TOWER, **self.tower}, **self.own)


def _mistral3(title: str, **text: Any) -> TinyModel:
    own = {"image_token_index": 3, "tie_word_embeddings": False}
    return TinyModel(
        title, "Mistral3", {"tie_word_embeddings": False, **text}, {"model_type": "pixtral"}, own
    )


MODELS = {
    "llama": TinyModel("Llama", "Llama", {"tie_word_embeddings": True}),
    "mistral": TinyModel("Mistral", "Mistral", NO_WINDOW),
    "ministral": TinyModel("Ministral", "Ministral", WINDOWS),
    "mistral-small-3": _mistral3("Mistral Small 3", model_type="mistral", **NO_WINDOW),
    "ministral-3": _mistral3("Ministral 3", model_type="ministral3", rope_parameters=YARN),
    "llava": TinyModel(
        "LLaVA",
        "Llava",
        {"model_type": "llama"},
        {"model_type": "clip_vision_model"},
        {"image_token_index": 3},
    ),
    "qwen2": TinyModel("Qwen 2", "Qwen2"),
    "qwen3": TinyModel("Qwen 3", "Qwen3"),
    "gemma": TinyModel("Gemma", "Gemma"),
    "gemma2": TinyModel("Gemma 2", "Gemma2", {**WINDOWS, **GEMMA}),
    "gemma3-text": TinyModel("Gemma 3, text alone", "Gemma3Text", {**WINDOWS, **GEMMA}),
    "gemma3": TinyModel(
        "Gemma 3",
        "Gemma3",
        {**WINDOWS, **GEMMA},
        {},
        {"mm_tokens_per_image": 4, "image_token_index": 3, "boi_token_index": 3, "eoi_token_index": 3},
    ),
    "gemma4-text": TinyModel("Gemma 4, text alone", "Gemma4Text", GEMMA_4),
    "gemma4": TinyModel(
        "Gemma 4",
        "Gemma4",
        GEMMA_4,
        {"head_dim": 32, "num_key_value_heads": 2, "position_embedding_size": 16},
        {**OF_IMAGES, "audio_token_id": 3},
    ),
    "gemma4-moe": TinyModel(
        "Gemma 4 with experts",
        "Gemma4Text",
        {
            **{**GEMMA_4, "enable_moe_block": True, "num_experts": 8, "top_k_experts": 2},
            "moe_intermediate_size": 64,
        },
    ),
    "phi3": TinyModel(
        "Phi 4 mini", "Phi3", {**NO_WINDOW, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.75}}
    ),
    "smollm3": TinyModel("SmolLM 3", "SmolLM3", {"num_hidden_layers": 4, "tie_word_embeddings": True}),
    "olmo2": TinyModel("OLMo 2", "Olmo2"),
    "olmo3": TinyModel("OLMo 3", "Olmo3", WINDOWS),
    "granite": TinyModel("Granite 3", "Granite", FACTORS),
    "granite-4": TinyModel(
        "Granite 4 without Mamba",
        "GraniteMoeHybrid",
        {
            **{**FACTORS, "num_local_experts": 0, "shared_intermediate_size": 256, "mamba_n_heads": 8},
            **{"layer_types": [FULL] * 3, "position_embedding_type": "rope"},
        },
    ),
    "granite-4-h": TinyModel("Granite 4 H", "GraniteMoeHybrid", {**LOCAL, **MAMBA}),
    "glm": TinyModel("GLM", "Glm", HALF_ROTATED),
    "glm4": TinyModel("GLM 4", "Glm4", HALF_ROTATED),
    "glm-4.5": TinyModel("GLM 4.5", "Glm4Moe", ROUTED),
    "ernie-4.5": TinyModel("Ernie 4.5", "Ernie4_5"),
    "helium": TinyModel("Helium", "Helium"),
    "seed-oss": TinyModel("Seed OSS", "SeedOss", {"attention_out_bias": False}),
    "exaone4": TinyModel("EXAONE 4", "Exaone4", {**NO_WINDOW, "layer_types": [FULL] * 3}),
    "gpt-oss": TinyModel("gpt-oss", "GptOss", {**LOCAL, "rope_parameters": ROUNDED_YARN}),
    "qwen3-moe": TinyModel("Qwen 3 MoE", "Qwen3Moe", {**EXPERTS, "norm_topk_prob": True}),
    "mixtral": TinyModel("Mixtral", "Mixtral", LOCAL),
    "qwen3.5-text": TinyModel("Qwen 3.5, text alone", "Qwen3_5Text", DELTA_RULE),
    "qwen3.5": TinyModel(
        "Qwen 3.5",
        "Qwen3_5",
        DELTA_RULE,
        QWEN_TOWER,
        {**OF_IMAGES, "vision_start_token_id": 3, "vision_end_token_id": 3},
    ),
    "qwen3.5-moe": TinyModel("Qwen 3.5 MoE", "Qwen3_5MoeText", {**SHARED_EXPERT, **DELTA_RULE}),
    "qwen3-next": TinyModel(
        "Qwen 3 Next", "Qwen3Next", {**SHARED_EXPERT, **DELTA_RULE, "norm_topk_prob": True}
    ),
    "lfm2": TinyModel("LFM 2", "Lfm2", {"layer_types": [CONV, CONV, FULL], **LFM_2}),
    "lfm2-moe": TinyModel(
        "LFM 2 MoE", "Lfm2Moe", {**EXPERTS, "num_dense_layers": 1, "layer_types": [CONV, CONV, FULL]}
    ),
    "nemotron-3": TinyModel("Nemotron 3", "NemotronH", {**ROUTED, **MIXERS}),
    "llama4-text": TinyModel(
        "Llama 4, its text model alone",
        "Llama4Text",
        {
            "intermediate_size_mlp": 256,
            "moe_layers": [],
            "interleave_moe_layer_step": 0,
            "no_rope_layers": [1, 1, 0],
        },
    ),
}
