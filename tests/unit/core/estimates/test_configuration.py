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

from core.catalog import SMOLLM2
from core.estimates import configuration
from core.estimates.expected_path import FAST_TYPES, expected_path
from core.estimates.shapes import base_bytes
from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE, STATES, TINY
from tests.fixtures.engine.wrappers import FAST_WRAPPERS
from tests.fixtures.models.tiny import random_model
from worker.engine.base.model_shape import shape_of

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
        *(STATES[name]() for name in STATES),
        *(FAST[name]() for name in FAST if name.startswith("gemma 4")),
    ],
    ids=lambda config: config.model_type,
)
def test_config_json_says_what_transformers_makes_of_it(config: PretrainedConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    found = json.loads((tmp_path / configuration.CONFIG).read_text())
    path: configuration.DecoderPath = "fast" if expected_path(found).path == "fast" else "portable"
    assert configuration.shape_of(found, 2, None) == shape_of(config, torch.bfloat16, None, path)


@pytest.mark.parametrize("normed", [True, False])
def test_the_configuration_of_glm_4_5_says_whether_heads_have_norms(normed: bool) -> None:
    config = FAST["glm 4 moe, a shared expert and a dense layer"]()
    config.use_qk_norm = normed
    found = shape_of(config, torch.bfloat16, None, "fast")
    assert found is not None
    assert found.norms_of_heads == normed
    assert any("q_norm" in name for name, _ in random_model(config).named_parameters()) == normed


@pytest.mark.parametrize("name", FAST_WRAPPERS)
def test_a_model_of_texts_and_images_is_its_text_part_beside_a_tower(name: str, tmp_path: Path) -> None:
    config = FAST_WRAPPERS[name]()
    config.save_pretrained(tmp_path)
    found = configuration.shape_of(json.loads((tmp_path / configuration.CONFIG).read_text()), 2, None)
    assert found == shape_of(config, torch.bfloat16, None, "fast", tied=found.tied if found else None)
    assert found is not None
    weights = dict(random_model(config).named_parameters())
    towers = {each: weight for each, weight in weights.items() if "vision" in each and "layers." in each}
    matrices = sum(weight.numel() for weight in towers.values() if weight.ndim == 2)
    assert found.towers == matrices
    assert all(f"{module}.weight" in weights for module in found.all_projections)


PATHS = {"fast": FAST, "portable": PORTABLE, "plain": PLAIN}


def test_config_json_says_which_path_the_engine_takes(tmp_path: Path) -> None:
    """Which path that is, `test_architectures.py` tries out on the same models."""
    for path, models in PATHS.items():
        for name, make in models.items():
            make().save_pretrained(tmp_path)
            found = json.loads((tmp_path / configuration.CONFIG).read_text())
            assert expected_path(found, TINY.max_length) == (path, True), name
            shape = configuration.shape_of(found, 2, None, max_length=TINY.max_length)
            assert shape is None or shape.path == ("fast" if path == "fast" else "portable"), name


def test_a_test_holds_every_type_of_the_fast_path() -> None:
    with_images = {"gemma3", "gemma4"}  # their texts are computed by the text models
    assert {make().model_type for make in FAST.values()} == {*FAST_TYPES} - with_images


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
