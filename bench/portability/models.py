"""Tiny models of families that runtimes load in different ways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import (
    Glm4MoeConfig,
    GptOssConfig,
    GraniteMoeHybridConfig,
    Lfm2MoeConfig,
    LlamaConfig,
    MixtralConfig,
    NemotronHConfig,
    PretrainedConfig,
    Qwen3_5MoeTextConfig,
    Qwen3MoeConfig,
)

SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
}
LINEAR, FULL, CONV, MOE = "linear_attention", "full_attention", "conv", "moe"
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
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


@dataclass(frozen=True)
class TinyModel:
    """A family, and what its configuration has beside `SIZES`."""

    title: str
    config: type[PretrainedConfig]
    fields: dict[str, Any] = field(default_factory=dict)

    def configuration(self, **more: Any) -> PretrainedConfig:
        return self.config(**{**SIZES, **self.fields, **more})


MODELS = {
    "llama": TinyModel("Llama", LlamaConfig, {"tie_word_embeddings": True}),
    "qwen3-moe": TinyModel("Qwen 3 MoE", Qwen3MoeConfig, {**EXPERTS, "norm_topk_prob": True}),
    "mixtral": TinyModel("Mixtral", MixtralConfig, LOCAL),
    "gpt-oss": TinyModel("gpt-oss", GptOssConfig, LOCAL),
    "glm-4.5": TinyModel("GLM 4.5", Glm4MoeConfig, ROUTED),
    "qwen3.5-moe": TinyModel(
        "Qwen 3.5 MoE",
        Qwen3_5MoeTextConfig,
        {**EXPERTS, **DELTA_RULE, "shared_expert_intermediate_size": 64},
    ),
    "lfm2-moe": TinyModel(
        "LFM 2 MoE", Lfm2MoeConfig, {**EXPERTS, "num_dense_layers": 1, "layer_types": [CONV, CONV, FULL]}
    ),
    "granite-4-h": TinyModel("Granite 4 H", GraniteMoeHybridConfig, {**LOCAL, **MAMBA}),
    "nemotron-3": TinyModel("Nemotron 3", NemotronHConfig, {**ROUTED, **MIXERS}),
}
