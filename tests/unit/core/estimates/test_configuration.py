"""A base model's shape is known without torch: from config.json, or from a wheel that is not converted."""

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    Glm4MoeConfig,
    GptOssConfig,
    LlamaConfig,
    PretrainedConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from core.catalog import SMOLLM2
from core.estimates import configuration
from core.estimates.shapes import base_bytes
from worker.engine.base.model_shape import shape_of
from worker.engine.decoders.architecture import SUPPORTED

SMALL = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SMALL, num_key_value_heads=2),
        Qwen3Config(**SMALL),
        Gemma2Config(**SMALL),
        Gemma3TextConfig(**SMALL),
        Qwen3MoeConfig(**SMALL, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32),
        GptOssConfig(**SMALL, num_local_experts=8, num_experts_per_tok=2, head_dim=16),
        Glm4MoeConfig(**SMALL, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=32),
    ],
    ids=lambda config: config.model_type,
)
def test_config_json_says_what_transformers_makes_of_it(config: PretrainedConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    found = json.loads((tmp_path / configuration.CONFIG).read_text())
    fast = config.model_type in configuration.FAST_TYPES
    path: configuration.DecoderPath = "fast" if fast else "portable"
    assert configuration.shape_of(found, 2, None) == shape_of(config, torch.bfloat16, None, path)


def test_estimates_and_the_engine_name_the_same_architectures_for_the_fast_path() -> None:
    named = {MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind] for kind in configuration.FAST_TYPES}
    with_images = "Gemma3ForConditionalGeneration"  # its texts are computed by Gemma3ForCausalLM
    assert named - {with_images} == set(SUPPORTED)


def test_the_wheel_says_the_shape_before_it_is_converted(tmp_path: Path) -> None:
    found = configuration.configuration_of(SMOLLM2, tmp_path)
    assert found is not None
    shape = configuration.shape_of(found, 2, None)
    assert shape is not None
    assert shape.path == "fast"
    assert base_bytes(shape) == 2 * 134_515_008  # the parameters of SmolLM2-135M


def test_a_file_that_is_no_gguf_has_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "weights.gguf").write_bytes(b"GGUF" + bytes(40))
    broken = SMOLLM2.model_copy(update={"file": str(tmp_path / "weights.gguf")})
    assert configuration.configuration_of(broken, tmp_path) is None
