"""The tiny Llama as a base model that the engine has loaded."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import flex_attention

from tests.fixtures.engine.architectures import TINY
from tests.fixtures.models.tiny import save_model, tiny_llama
from worker.engine.base.base_model import ResidentBase


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_model(tiny_llama(), folder)
    return folder


def load(folder: Path) -> ResidentBase:
    return ResidentBase(TINY, folder, "0" * 64, torch.device("cpu"))


@pytest.fixture(scope="session")
def loaded(tiny_folder: Path) -> list[ResidentBase]:
    """Hold the base that all tests of this process share."""
    return [load(tiny_folder)]


@pytest.fixture
def base(loaded: list[ResidentBase], tiny_folder: Path) -> Iterator[ResidentBase]:
    """The shared base, as an object of the test's own whose attributes the test may replace.

    No job changes the base model's modules and weights (decision 24): each test is checked for that.
    """
    (shared,) = loaded
    before = state_of(shared)
    own = copy.copy(shared)
    own.decoder = copy.copy(shared.decoder)
    yield own
    if state_of(shared) != before:
        loaded[0] = load(tiny_folder)  # for the tests that follow
        pytest.fail("the test has changed the base model")


@pytest.fixture
def changeable_base(tiny_folder: Path) -> ResidentBase:
    """A base of the test's own, whose weights it may change."""
    return load(tiny_folder)


def state_of(base: ResidentBase) -> list[Any]:
    model: nn.Module = base.model
    modules = [(name, id(module), type(module)) for name, module in model.named_modules()]
    weights = [
        (name, tensor.data_ptr(), tensor.sum().item(), tensor.norm().item())
        for name, tensor in model.state_dict().items()
    ]
    return [modules, weights, model.training, base.model.config._attn_implementation]


@pytest.fixture
def flex_gradients_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention has a backward pass for CPUs, behind a check that refuses them."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)
