"""A job is told what it takes of the experts, what stays untrained, and what is not quantised."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import JobError
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.whole import FullTuning
from tests.fixtures.engine.architectures import TINY, WITH_EXPERTS
from tests.fixtures.engine.training import make_spec
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.trainer.report.reporter import JobEvent
from worker.trainer.report.weights_told import events_on_weights

pytestmark = pytest.mark.slow

KINDS = ("gate", "up", "down")
OF_A_LAYER = 4 * (64 * 64 + 64 * 32)  # numbers: experts, gate and up, down


def load(name: str, folder: Path, **catalog: Any) -> ResidentBase:
    save_model(WITH_EXPERTS[name](), folder)
    return ResidentBase(TINY.model_copy(update=catalog), folder, "0" * 64, torch.device("cpu"))


def told(base: ResidentBase, adapter: Any) -> dict[str, JobEvent]:
    events = events_on_weights(base, make_spec(adapter=adapter))
    return {event.once_as: event for event in events if event.once_as}


def test_a_job_is_told_what_it_takes_of_the_experts_and_what_not(tmp_path: Path) -> None:
    base = load("qwen 3 moe", tmp_path)
    everything = told(base, LoraAdapter())
    assert list(everything) == ["experts"]
    message = everything["experts"].message
    assert "mlp.experts.down_proj, mlp.experts.gate_up_proj" in message
    assert "routers stay" in message
    half = told(base, LoraAdapter(target_modules=["q_proj"], target_parameters=["down_proj"]))
    assert half["untrained_experts"].message == (
        f"The adapter does not change {2 * 4 * 64 * 64:,} numbers of experts: mlp.experts.gate_up_proj. To "
        "train them, name them in adapter.target_parameters."
    )
    for adapter, remedy in (
        (LoraAdapter(target_modules=["q_proj"]), "name them in adapter.target_parameters"),
        (AdaLoraAdapter(), "Only the method lora trains experts"),
    ):
        (event,) = told(base, adapter).values()
        assert event.options["level"] == "warn"
        assert event.options["data"]["numbers"] == 2 * OF_A_LAYER  # type: ignore[index]
        assert remedy in event.message
    assert not told(base, FullTuning())


def test_a_base_without_experts_says_nothing(base: ResidentBase) -> None:
    assert not told(base, LoraAdapter())


def test_weights_that_are_not_quantised_are_named_with_their_size(tmp_path: Path) -> None:
    base = load("lfm 2 moe", tmp_path, quantization="int8")
    event = told(base, LoraAdapter())["unquantised_weights"]
    assert "conv.conv.weight" in event.message
    assert "feed_forward.gate.weight" in event.message
    assert "experts" not in event.message


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_layers_that_peft_cannot_adapt_in_few_bits_are_left_out_and_named(
    quantization: Any, tmp_path: Path
) -> None:
    """PEFT takes them for experts, by their names."""
    base = load("glm 4 moe, a shared expert and a dense layer", tmp_path, quantization=quantization)
    adapter = TrainableAdapter(base, "job", LoraAdapter(r=2), 0)
    left_out = set(told(base, adapter.spec)["left_out_layers"].options["data"]["layers"])  # type: ignore[index]
    trained = {name.rpartition(".")[0] for name in adapter.parameters.extents}
    assert {f"model.layers.1.mlp.shared_experts.{kind}_proj" for kind in KINDS} < left_out
    assert {f"model.layers.0.mlp.{kind}_proj" for kind in KINDS} < left_out
    assert not left_out & trained
    assert any(".experts" in name for name in trained)
    assert "left_out_layers" not in told(base, LoraAdapter(target_modules=["q_proj"]))
    with pytest.raises(JobError, match=r"PEFT cannot adapt .* in 4 or 8 bits"):
        TrainableAdapter(base, "job", LoraAdapter(target_modules=["gate_proj", "up_proj"]), 0)
