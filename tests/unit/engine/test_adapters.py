"""Adapters on the shared base model: what does not fit is refused, and nothing of it stays behind."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.artifacts import DamagedArtifact
from core.jobspec import LoraAdapter
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
