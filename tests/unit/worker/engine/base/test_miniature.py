"""The miniatures of large models with experts are small."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Glm4MoeConfig,
    GptOssConfig,
    MixtralConfig,
    PretrainedConfig,
    Qwen3MoeConfig,
)

from worker.engine.base.miniature import MOST_PARAMETERS, narrow

QWEN_3 = {"num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8}
GLM_4_5 = {"num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "num_experts_per_tok": 8}
PUBLISHED = {
    "Qwen3-30B-A3B": Qwen3MoeConfig(
        **QWEN_3,
        hidden_size=2048,
        num_hidden_layers=48,
        num_attention_heads=32,
        intermediate_size=6144,
        moe_intermediate_size=768,
    ),
    "Qwen3-235B-A22B": Qwen3MoeConfig(
        **QWEN_3,
        hidden_size=4096,
        num_hidden_layers=94,
        num_attention_heads=64,
        intermediate_size=12_288,
        moe_intermediate_size=1536,
    ),
    "gpt-oss-120b": GptOssConfig(),
    "Mixtral 8x22B": MixtralConfig(
        hidden_size=6144,
        num_hidden_layers=56,
        num_attention_heads=48,
        num_key_value_heads=8,
        num_local_experts=8,
        num_experts_per_tok=2,
        intermediate_size=16_384,
    ),
    "GLM-4.5": Glm4MoeConfig(
        **GLM_4_5,
        hidden_size=5120,
        num_hidden_layers=92,
        intermediate_size=12_288,
        n_routed_experts=160,
        moe_intermediate_size=1536,
        first_k_dense_replace=3,
        use_qk_norm=True,
    ),
    "GLM-4.5-Air": Glm4MoeConfig(
        **GLM_4_5,
        hidden_size=4096,
        num_hidden_layers=46,
        intermediate_size=10_944,
        n_routed_experts=128,
        moe_intermediate_size=1408,
        first_k_dense_replace=1,
    ),
}


@pytest.mark.parametrize("config", PUBLISHED.values(), ids=PUBLISHED)
def test_the_miniature_of_a_large_model_with_experts_is_far_below_the_limit(config: PretrainedConfig) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(narrow(config))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert len(model.model.layers) == config.num_hidden_layers
    assert count < MOST_PARAMETERS / 2
