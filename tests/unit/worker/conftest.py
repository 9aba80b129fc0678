"""A tiny Llama with random weights, as a folder that the engine loads like any other."""

from pathlib import Path

import pytest
import torch
from torch.nn.attention import flex_attention
from transformers import LlamaConfig

from tests.fixtures.tiny_models import TINY, save_model
from worker.engine.base.base_model import ResidentBase


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=512,
    )
    save_model(config, folder)
    return folder


@pytest.fixture
def base(tiny_folder: Path) -> ResidentBase:
    return ResidentBase(TINY, tiny_folder, "0" * 64, torch.device("cpu"))


@pytest.fixture
def flex_gradients_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention has a backward pass for CPUs, behind a check that refuses them."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)
