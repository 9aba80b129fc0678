"""Adapters on the shared base model: what does not fit is refused, and nothing of it stays behind."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.artifacts import DamagedArtifact
from core.errors import JobError
from core.jobspec import LoraAdapter
from tests.fixtures.tiny_models import TINY
from tests.unit.engine.test_training import make_member, make_rows, make_spec, train
from worker.engine import adapters
from worker.engine.adapters import WEIGHTS_NAME, TrainableAdapter
from worker.engine.base_model import ResidentBase

SPEC = LoraAdapter(r=4, lora_alpha=8)


@pytest.mark.parametrize("change", ["one is missing", "one too many"])
def test_weights_that_are_not_all_its_own_are_refused(
    base: ResidentBase, tmp_path: Path, change: str
) -> None:
    adapter = TrainableAdapter(base, "job", SPEC, 0)
    adapter.save(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS_NAME)
    if change == "one is missing":
        name = next(iter(tensors))
        del tensors[name]
    else:
        name = "base_model.model.lm_head.lora_A.weight"
        tensors[name] = torch.zeros(1)
    save_file(tensors, tmp_path / "other")
    with pytest.raises(DamagedArtifact, match=name):
        adapter.load(tmp_path / "other")


def test_an_adapter_that_does_not_fit_leaves_nothing_on_the_base_model(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour = TrainableAdapter(base, "neighbour", SPEC, 0)

    def run_out(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(adapters, "FlatParameters", run_out)
    with pytest.raises(torch.OutOfMemoryError):
        TrainableAdapter(base, "job", SPEC, 1)
    left = {name for name, _ in base.model.named_parameters() if "job" in name.split(".")}
    assert left == set()
    assert neighbour.state()


@pytest.mark.parametrize("first", [True, False], ids=["the first one", "beside another"])
def test_a_target_that_peft_refuses_is_named_and_leaves_nothing(base: ResidentBase, first: bool) -> None:
    """PEFT has adapted every q_proj by the time that it comes to what is no linear layer."""
    if not first:
        TrainableAdapter(base, "neighbour", SPEC, 0)
    before = {name for name, _ in base.model.named_parameters()}
    spec = LoraAdapter(target_modules=["q_proj", "input_layernorm"])
    with pytest.raises(JobError) as raised:
        TrainableAdapter(base, "job", spec, 0)
    assert raised.value.param == "adapter.target_modules"
    told = "input_layernorm cannot be adapted; name target_modules among down_proj"
    assert raised.value.message.startswith(told)
    assert not any("job" in name.split(".") for name, _ in base.model.named_parameters())
    if not first:
        assert {name for name, _ in base.model.named_parameters()} == before


def test_a_refused_adapter_costs_the_next_one_nothing(base: ResidentBase, tiny_folder: Path) -> None:
    with pytest.raises(JobError):
        TrainableAdapter(base, "job", LoraAdapter(target_modules=["q_proj", "input_layernorm"]), 0)
    fresh = ResidentBase(TINY, tiny_folder, "0" * 64, torch.device("cpu"))
    masters = []
    for each in (base, fresh):
        member = make_member(each, "job", make_spec(), make_rows(12, 0))
        train(each, [member], 2)
        masters.append(member.adapter.parameters.master)
        member.adapter.detach()
    assert torch.equal(*masters)
