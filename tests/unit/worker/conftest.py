"""The tiny Llama as a base model that the engine has loaded."""

from pathlib import Path

import pytest
import torch
from torch.nn.attention import flex_attention

from tests.fixtures.engine.architectures import TINY
from tests.fixtures.tiny import save_model, tiny_llama
from worker.engine.base.base_model import ResidentBase


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_model(tiny_llama(), folder)
    return folder


@pytest.fixture
def base(tiny_folder: Path) -> ResidentBase:
    return ResidentBase(TINY, tiny_folder, "0" * 64, torch.device("cpu"))


@pytest.fixture
def flex_gradients_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention has a backward pass for CPUs, behind a check that refuses them."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)
