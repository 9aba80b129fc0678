"""Adapters on the shared base model: those that do not fit are refused, and leave nothing behind."""

import weakref
from pathlib import Path

import pytest
import torch

from core.errors import JobError
from core.jobs.spec import LoraAdapter
from core.storage.file_names import DamagedFile
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec, make_trainee, train
from tests.fixtures.engine.wrappers import FAST_WRAPPERS
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase

SPEC = LoraAdapter(r=4, lora_alpha=8)


@pytest.mark.parametrize("change", ["one is missing", "one too many"])
def test_a_state_that_is_not_all_its_own_is_refused(base: ResidentBase, change: str) -> None:
    trainee = make_trainee(base, "job", make_spec(), make_rows(12, 0))
    state = trainee.state()
    name = next(iter(state)) if change == "one is missing" else "parameters.lm_head.lora_A"
    if change == "one is missing":
        del state[name]
    else:
        state[name] = torch.zeros(1)
    with pytest.raises(DamagedFile, match=name):
        trainee.restore(1, state)


def test_the_base_model_stays_as_it_is_beside_adapters(base: ResidentBase) -> None:
    modules, weights = dict(base.model.named_modules()), dict(base.model.named_parameters())
    TrainableAdapter(base, "job", SPEC, 0)
    with pytest.raises(JobError):
        TrainableAdapter(base, "refused", LoraAdapter(target_modules=["q_proj", "input_layernorm"]), 0)
    assert dict(base.model.named_modules()) == modules
    assert all(weights[name] is parameter for name, parameter in base.model.named_parameters())


def test_an_adapter_that_is_let_go_leaves_nothing_in_memory(base: ResidentBase) -> None:
    adapter = TrainableAdapter(base, "job", SPEC, 0)
    kept = weakref.ref(next(adapter.plain_model.parameters())), weakref.ref(adapter.parameters)
    layer = weakref.ref(adapter.plain_model.get_base_model().model.layers[0].self_attn.q_proj)
    del adapter
    assert layer() is None
    assert kept[1]() is None


@pytest.mark.parametrize("target", ["input_layernorm", "no_such_proj"])
def test_a_target_that_cannot_be_adapted_is_named(base: ResidentBase, target: str) -> None:
    with pytest.raises(JobError) as raised:
        TrainableAdapter(base, "job", LoraAdapter(target_modules=["q_proj", target]), 0)
    assert raised.value.param == "adapter.target_modules"
    expected = f"{target} cannot be adapted; choose target_modules from down_proj"
    assert raised.value.message.startswith(expected)


@pytest.mark.slow
def test_only_the_layers_of_the_text_model_that_are_named_are_adapted_beside_a_tower(tmp_path: Path) -> None:
    """There PEFT gets whole names, which it adapts in any layer."""
    save_model(FAST_WRAPPERS["gemma 3, text beside a tower"](), tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, torch.device("cpu"))
    assert not base.adapts_all_linear
    spec = LoraAdapter(r=2, target_modules=["q_proj"], layers_to_transform=[1])
    names = TrainableAdapter(base, "job", spec, 0).parameters.extents
    assert names
    assert all(".layers.1.self_attn.q_proj." in name for name in names)


@pytest.mark.parametrize(
    ("changes", "param", "expected"),
    [
        (
            {"layers_to_transform": [1, 7]},
            "layers_to_transform",
            "Layer 7 has none of the target_modules; they ",
        ),
        ({"layers_to_transform": [1], "layers_pattern": ["h"]}, "layers_pattern", "they are in no layer"),
    ],
)
def test_a_layer_that_the_model_lacks_is_named(
    base: ResidentBase, changes: dict[str, list[int]], param: str, expected: str
) -> None:
    """PEFT would leave such a layer out without a word."""
    spec = LoraAdapter.model_validate({"target_modules": ["q_proj"], **changes})
    with pytest.raises(JobError, match=expected) as raised:
        TrainableAdapter(base, "job", spec, 0)
    assert raised.value.param == f"adapter.{param}"


def test_a_refused_adapter_costs_the_next_one_nothing(base: ResidentBase, tiny_folder: Path) -> None:
    with pytest.raises(JobError):
        TrainableAdapter(base, "job", LoraAdapter(target_modules=["q_proj", "input_layernorm"]), 0)
    fresh = ResidentBase(TINY, tiny_folder, "0" * 64, torch.device("cpu"))
    masters = []
    for each in (base, fresh):
        trainee = make_trainee(each, "job", make_spec(), make_rows(12, 0))
        train(each, [trainee], 2)
        masters.append(trainee.adapter.parameters.master)
    assert torch.equal(*masters)
