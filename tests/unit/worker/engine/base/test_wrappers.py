"""Models of texts and images: their text part trains, and adapters name layers as the whole model does."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import PretrainedConfig

from core.jobs.spec import LoraAdapter
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.sampling import saved_adapter
from tests.fixtures.engine.wrappers import (
    FAST_WRAPPERS,
    PLAIN_WRAPPERS,
    PORTABLE_WRAPPERS,
)
from tests.fixtures.models.tiny import named_class, save_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.source import SourceWeights
from worker.engine.decoders.targets import adaptable_modules

pytestmark = [pytest.mark.slow, pytest.mark.family(2)]

WRAPPERS = FAST_WRAPPERS | PORTABLE_WRAPPERS | PLAIN_WRAPPERS


def load(folder: Path, **catalog: Any) -> ResidentBase:
    return ResidentBase(TINY.model_copy(update=catalog), folder, "0" * 64, torch.device("cpu"))


@pytest.mark.parametrize("make", WRAPPERS.values(), ids=WRAPPERS)
def test_an_adapter_has_the_names_that_peft_gives_it_on_the_whole_model(
    make: Callable[[], PretrainedConfig], tmp_path: Path
) -> None:
    save_model(make(), tmp_path / "base")
    base = load(tmp_path / "base")
    modules = adaptable_modules(base.decoder.groups)
    folder = saved_adapter(base, LoraAdapter(r=2), tmp_path / "adapter")
    with safe_open(folder / WEIGHTS_NAME, framework="pt") as file:
        names = set(file.keys())
    whole = named_class(tmp_path / "base").from_pretrained(tmp_path / "base")
    by_regex = "|".join(re.escape(each) for each in modules)
    theirs = get_peft_model(whole, LoraConfig(r=2, target_modules=by_regex, task_type="CAUSAL_LM"))
    state = {name for name, _ in theirs.named_parameters() if "lora_" in name}
    assert names == {name.replace(".default", "") for name in state}
    assert all("language_model." in name for name in names)
    assert not any("vision" in name or "visual" in name for name in names)


@pytest.mark.parametrize("make", WRAPPERS.values(), ids=WRAPPERS)
def test_the_source_weights_are_found_by_the_names_of_the_whole_model(
    make: Callable[[], PretrainedConfig], tmp_path: Path
) -> None:
    """Files may have the names of an older release, so names are looked up as transformers does it."""
    save_model(make(), tmp_path)
    base, source = load(tmp_path), SourceWeights(tmp_path)
    names = source.names_in(base.model)
    for module in adaptable_modules(base.decoder.groups):
        weight = source.tensor(names[f"{module}.weight"])
        assert torch.equal(weight, base.model.get_submodule(module).weight)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_whole_model_in_fewer_bits_trains_its_text_part(quantization: Any, tmp_path: Path) -> None:
    save_model(FAST_WRAPPERS["mistral small 3, text beside a tower"](), tmp_path)
    base = load(tmp_path, quantization=quantization)
    assert base.decoder.path == "fast"
    assert all(".language_model." in name for name in adaptable_modules(base.decoder.groups))
