"""A base model's shape is known without torch: from config.json, or from a wheel that is not converted."""

import json
from pathlib import Path

import pytest
import torch
from transformers import Gemma2Config, Gemma3TextConfig, LlamaConfig, PretrainedConfig, Qwen3Config

from core.catalog import SMOLLM2
from core.estimates import configuration
from core.estimates.shapes import base_bytes
from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE, TINY
from worker.engine.base.model_shape import shape_of

SMALL = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SMALL, num_key_value_heads=2),
        Qwen3Config(**SMALL),
        Gemma2Config(**SMALL),
        Gemma3TextConfig(**SMALL),
    ],
    ids=lambda config: config.model_type,
)
def test_config_json_says_what_transformers_makes_of_it(config: PretrainedConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    found = json.loads((tmp_path / configuration.CONFIG).read_text())
    assert configuration.shape_of(found, 2, None) == shape_of(config, torch.bfloat16, None, "fast")


PATHS = {"fast": FAST, "portable": PORTABLE, "plain": PLAIN}


def test_config_json_says_which_path_the_engine_takes(tmp_path: Path) -> None:
    """Which path that is, `test_architectures.py` tries out on the same models."""
    for path, models in PATHS.items():
        for name, make in models.items():
            make().save_pretrained(tmp_path)
            found = json.loads((tmp_path / configuration.CONFIG).read_text())
            assert configuration.takes_fast_path(found, TINY.max_length) == (path == "fast"), name


def test_a_test_holds_every_type_of_the_fast_path() -> None:
    with_images = {"gemma4"}  # its texts are computed by the text model
    assert {make().model_type for make in FAST.values()} == {*configuration.FAST_TYPES} - with_images


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
