"""LoftQ: an adapter begins with the part of the weights that quantisation has lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.utils.loftq_utils import _low_rank_decomposition
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config
from transformers.pytorch_utils import Conv1D

from core.errors import JobError
from core.jobs.spec import LoraAdapter
from tests.fixtures.engine.architectures import FAST, TINY
from tests.fixtures.engine.few_bits import in_whole_blocks
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import MAX_TOKENS, evaluate, make_spec, peft_loss
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.attach import attach
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.quantisation import quantise_embeddings, quantization_config
from worker.engine.decoders.layer_weight import weight_of
from worker.engine.start.initial_values import initial_values
from worker.engine.start.loftq import nearest
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.passes import Abandoned
from worker.engine.step.trainee import StepResult, Trainee

pytestmark = [pytest.mark.slow, pytest.mark.family(1)]

CPU = torch.device("cpu")
LOFTQ = LoraAdapter(r=8, lora_alpha=24, init_lora_weights="loftq")


def quantised(folder: Path, quantization: str = "nf4") -> ResidentBase:
    return ResidentBase(TINY.model_copy(update={"quantization": quantization}), folder, "0" * 64, CPU)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("biased")
    save_model(in_whole_blocks(FAST["qwen 2, biases"]()), folder)
    return folder


def begin(
    base: ResidentBase, adapter: LoraAdapter, abandon: Callable[[], bool] = lambda: False
) -> InitialValues:
    return initial_values(base, make_spec(adapter=adapter), [], {}, abandon)


def begun(base: ResidentBase, adapter: LoraAdapter = LOFTQ) -> TrainableAdapter:
    return TrainableAdapter(base, "job", adapter, 0, initial=begin(base, adapter))


def errors(base: ResidentBase, folder: Path, adapter: TrainableAdapter) -> dict[str, tuple[float, float]]:
    """Return ||W - Q|| and ||W - (Q + s B A)|| of each module."""
    source = AutoModelForCausalLM.from_pretrained(folder)
    found = {}
    for layers in adapter._layers.values():
        for module, layer in layers.items():
            plain = source.get_submodule(module)
            W = plain.weight.T if isinstance(plain, Conv1D) else plain.weight
            lost = W - weight_of(base.model.get_submodule(module))
            found[module] = lost.norm().item(), (lost - layer.get_delta_weight("default")).norm().item()
    return found


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_the_error_of_every_weight_falls(folder: Path, quantization: str) -> None:
    base = quantised(folder, quantization)
    spec = LOFTQ.model_copy(update={"rank_pattern": {"k_proj": 2}, "alpha_pattern": {"o_proj": 5}})
    found = errors(base, folder, begun(base, spec))
    assert len(found) == 14
    assert all(0.2 * before < after < 0.95 * before for before, after in found.values())


def test_factors_are_peft_s_at_scale_1(folder: Path) -> None:
    base = quantised(folder)
    spec = LoraAdapter(r=8, lora_alpha=8, init_lora_weights="loftq")
    source = load_file(folder / "model.safetensors")
    layers = {name: layer for each in begun(base, spec)._layers.values() for name, layer in each.items()}
    for name, layer in layers.items():
        lost = source[f"{name}.weight"] - weight_of(base.model.get_submodule(name))
        expected = _low_rank_decomposition(lost, reduced_rank=8)
        A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        signs = (A * expected["R"]).sum(1).sign()
        assert torch.allclose(signs[:, None] * A, expected["R"], atol=1e-4)
        assert torch.allclose(signs * B, expected["L"], atol=1e-4)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (30, 30)])
def test_nearest_is_the_truncated_singular_value_decomposition(shape: tuple[int, int]) -> None:
    W = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    B, A = nearest(W, 7)
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    assert torch.allclose(B @ A, U[:, :7] * S[:7] @ Vh[:7], atol=1e-4)
    assert torch.allclose(B.norm(dim=0), A.norm(dim=1), rtol=1e-4)


def test_the_first_loss_is_nearer_to_the_source_model_s_than_without(folder: Path) -> None:
    base, rows = quantised(folder), make_rows(8, 0)
    losses = {}
    for init in ("loftq", True):
        spec = make_spec(adapter=LOFTQ.model_copy(update={"r": 32, "init_lora_weights": init}))
        first = begin(base, spec.low_rank)
        trainee = Trainee(attach(base, str(init), spec, 4, initial=first), spec, rows)
        (result,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
        assert isinstance(result, StepResult)
        losses[init] = result.loss, trainee.rows_after(0)
    with torch.no_grad():
        source = peft_loss(AutoModelForCausalLM.from_pretrained(folder), losses[True][1]).item()
    distance = {init: abs(loss - source) for init, (loss, _) in losses.items()}
    assert distance["loftq"] < 0.5 * distance[True]


def test_it_is_saved_as_a_plain_lora_that_peft_loads_over_the_same_base(folder: Path, tmp_path: Path) -> None:
    base, rows = quantised(folder), make_rows(4, 0)
    adapter = begun(base)
    adapter.save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["init_lora_weights"] is True
    assert (config["r"], config["lora_alpha"]) == (8, 24)
    same = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        quantization_config=quantization_config("nf4", torch.float32, "tiny"),
        device_map={"": CPU},
    )
    quantise_embeddings(same, torch.float32)
    # Not `eval`: on a CPU with bf16 bitsandbytes would pack the weights, and it cannot pack such narrow ones
    adapted = PeftModel.from_pretrained(same, tmp_path).train()
    with torch.no_grad():
        expected = peft_loss(adapted, rows).item()
    assert evaluate(PassContext(base, MAX_TOKENS), adapter, rows).loss == pytest.approx(expected, rel=1e-4)


def test_weights_of_another_layout_and_another_name_are_found(tmp_path: Path) -> None:
    """GPT-2's source weights are transposed, and their names lack that of the body."""
    save_model(GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4, n_positions=512), tmp_path)
    named = load_file(tmp_path / "model.safetensors")
    save_file(
        {name.removeprefix("transformer."): each for name, each in named.items()},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    base = quantised(tmp_path)
    found = errors(base, tmp_path, begun(base, LOFTQ.model_copy(update={"r": 32})))
    assert found
    assert all(after < 0.6 * before for before, after in found.values())


def damage(weights: dict[str, Any], how: str) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    if how == "missing":
        del weights[name]
    else:
        weights[name] = torch.randn_like(weights[name])


@pytest.mark.parametrize("how", ["missing", "another"])
def test_a_weight_that_is_not_the_source_weight_is_refused(folder: Path, tmp_path: Path, how: str) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    base = quantised(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    damage(weights, how)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(JobError, match=r"source weight of model\.layers\.1\.mlp\.up_proj"):
        begun(base)


def test_a_rank_that_a_layer_does_not_have_is_refused(folder: Path) -> None:
    with pytest.raises(JobError, match=r"k_proj cannot begin with rank 33; lower .* to 32"):
        begun(quantised(folder), LOFTQ.model_copy(update={"r": 33}))


def test_nobody_waits_for_it_longer_than_for_one_weight(folder: Path) -> None:
    asked = iter([False, True])
    with pytest.raises(Abandoned):
        begin(quantised(folder), LOFTQ, lambda: next(asked))
