"""Checkpoints that the real loralib has written: what is stored gives loralib's own logits in plain PEFT."""

from pathlib import Path
from typing import Any

import loralib
import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from core.catalog import BaseModelEntry
from core.errors import JobError
from core.imports import ImportRequest
from tests.fixtures.models.loralib_models import ALPHA, R, with_loralib
from tests.fixtures.models.tiny import save_model, tiny_llama
from worker.tasks.importing.limited_process import Order, Read
from worker.tasks.importing.reading import read_file

MAX_BYTES = 2**24
QUERIES_AND_VALUES = [True, False, True]
TOKENS = torch.tensor([[5, 17, 250, 3, 99, 42]])


def gpt2() -> GPT2Config:
    return GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=2, n_head=4)


def entry(folder: Path) -> BaseModelEntry:
    return BaseModelEntry(
        id="base",
        repository="example/base",
        source="folder",
        path=folder,
        revision="1",
        license="MIT",
        max_length=64,
    )


@torch.no_grad()
def logits(model: Any) -> Tensor:
    found: Tensor = model.eval()(input_ids=TOKENS).logits
    return found


def imported(base: Path, folder: Path, **options: Any) -> Read:
    request = ImportRequest(base_model="base", object_key="", sha256="0" * 64, filename="lora.pt", **options)
    order = Order(
        request=request,
        entry=entry(base),
        base=base,
        base_sha256="",
        adapter=folder / "adapter",
        max_bytes=MAX_BYTES,
    )
    return read_file(order, folder)


@pytest.mark.parametrize(
    ("config", "enabled", "asked"),
    [
        (gpt2(), QUERIES_AND_VALUES, QUERIES_AND_VALUES),
        (gpt2(), [True, False, False], [True, False, False]),
        (gpt2(), [True, True, True], None),
        (gpt2(), None, None),
        (tiny_llama(), None, None),
    ],
    ids=["queries and values", "queries", "all parts", "not merged", "llama"],
)
@pytest.mark.parametrize("form", ["pt", "old pickle", "safetensors"])
def test_a_checkpoint_of_loralib_has_the_same_logits_in_plain_peft(
    tmp_path: Path,
    config: GPT2Config | LlamaConfig,
    enabled: list[bool] | None,
    asked: list[bool] | None,
    form: str,
) -> None:
    base, file = tmp_path / "base", tmp_path / "file"
    save_model(config, base)
    model = AutoModelForCausalLM.from_pretrained(base)
    lora = with_loralib(model, enabled)
    state = loralib.lora_state_dict(lora)
    if form == "safetensors":
        save_file(state, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=form == "pt")
    done = imported(base, tmp_path, lora_alpha=ALPHA, r=R, enable_lora=asked)
    assert done.format == "loralib"
    before, expected = logits(model), logits(lora)
    assert (expected - before).abs().max() > 0.1
    found = logits(PeftModel.from_pretrained(model, tmp_path / "adapter"))
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({}, "lora_alpha"),
        ({"lora_alpha": ALPHA}, "enable_lora"),
        ({"lora_alpha": ALPHA, "enable_lora": [True, False]}, "enable_lora"),
        ({"lora_alpha": ALPHA, "enable_lora": [True, True, True]}, "enable_lora"),
        ({"lora_alpha": ALPHA, "enable_lora": QUERIES_AND_VALUES, "r": 8}, "r"),
    ],
)
def test_what_a_checkpoint_does_not_tell_must_be_named(
    tmp_path: Path, options: dict[str, Any], param: str
) -> None:
    base = tmp_path / "base"
    save_model(gpt2(), base)
    lora = with_loralib(AutoModelForCausalLM.from_pretrained(base), QUERIES_AND_VALUES)
    save_file(loralib.lora_state_dict(lora), tmp_path / "file")
    with pytest.raises(JobError) as error:
        imported(base, tmp_path, **options)
    assert error.value.param == param
    assert not (tmp_path / "adapter").exists()


def test_biases_that_loralib_has_trained_are_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    save_model(gpt2(), base)
    lora = with_loralib(AutoModelForCausalLM.from_pretrained(base), None)
    save_file(loralib.lora_state_dict(lora, bias="lora_only"), tmp_path / "file")
    with pytest.raises(JobError, match=r"bias.*lora_state_dict"):
        imported(base, tmp_path, lora_alpha=ALPHA)
