"""CorDA begins at the base model with PEFT's A and B, and is saved as a plain LoRA."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora.corda import preprocess_corda
from transformers import AutoModelForCausalLM, GPT2Config

from core.errors import JobError
from core.jobs.spec import LoraAdapter
from core.methods.low_rank import CordaConfig
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import assert_it_begins_at_the_base_and_peft_loads_it, make_spec, train
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.attach import attach
from worker.engine.adapters.lora_config import lora_config
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.start import corda
from worker.engine.start.initial_values import initial_values
from worker.engine.step.passes import Abandoned
from worker.engine.step.states import parameters_in
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row

pytestmark = [pytest.mark.slow, pytest.mark.family(1)]

ROWS = make_rows(24, 0)
PATTERNS = {"rank_pattern": {"q_proj": 7}, "alpha_pattern": {"v_proj": 3}, "use_rslora": True}


def adapter_of(method: str, **changes: Any) -> LoraAdapter:
    return LoraAdapter(
        r=4,
        lora_alpha=8,
        init_lora_weights="corda",
        corda_config=CordaConfig.model_validate({"corda_method": method}),
        **changes,
    )


def begin(base: ResidentBase, adapter: LoraAdapter, rows: list[Row] = ROWS) -> InitialValues:
    return initial_values(base, make_spec(adapter=adapter), rows, {}, lambda: False)


def by_peft(folder: Path, adapter: LoraAdapter) -> PeftModel:
    model = AutoModelForCausalLM.from_pretrained(folder)
    config = lora_config(adapter, "all-linear", 1)
    names = {
        name.rpartition(".")[2] for name, each in model.named_modules() if "proj" in name or "c_" in name
    }
    config.target_modules = names  # `preprocess_corda` does not understand all-linear

    def run() -> None:
        for row in ROWS:
            model(input_ids=torch.from_numpy(row.tokens_L).long()[None])

    preprocess_corda(model, config, run_model=run)
    return get_peft_model(model, config)


def assert_factors_are_peft_s(base: ResidentBase, folder: Path, adapter: LoraAdapter) -> None:
    theirs = by_peft(folder, adapter).get_base_model()
    ours = TrainableAdapter(
        base, "job", adapter, 0, initial=begin(base, adapter)
    ).plain_model.get_base_model()
    count = 0
    for name, layer in ours.named_modules():
        if not hasattr(layer, "lora_A"):
            continue
        count += 1
        A, B, expected_A, expected_B = (
            factor["default"].weight.detach()
            for each in (layer, theirs.get_submodule(name))
            for factor in (each.lora_A, each.lora_B)
        )
        signs = (B * expected_B).sum(0).sign()
        assert torch.allclose(B * signs, expected_B, atol=2e-2 * expected_B.abs().max()), name
        assert torch.allclose(A * signs[:, None], expected_A, atol=2e-2 * expected_A.abs().max()), name
    assert count


@pytest.mark.parametrize("changes", [{}, PATTERNS], ids=["defaults", "patterns"])
@pytest.mark.parametrize("method", ["ipm", "kpm"])
def test_factors_are_peft_s(
    base: ResidentBase, tiny_folder: Path, method: str, changes: dict[str, Any]
) -> None:
    assert_factors_are_peft_s(base, tiny_folder, adapter_of(method, **changes))


def test_transposed_weights_are_taken_as_they_are_meant(tmp_path: Path) -> None:
    save_model(GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4, n_positions=512), tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, torch.device("cpu"))
    assert_factors_are_peft_s(base, tmp_path, adapter_of("ipm"))


def test_covariances_in_parts_are_those_at_once(base: ResidentBase, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = begin(base, adapter_of("ipm"))
    monkeypatch.setattr(corda, "COVARIANCE_BYTES", 4 * 96**2)
    parted = begin(base, adapter_of("ipm"))
    assert whole.keys() == parted.keys()
    assert all(torch.equal(values, parted[name]) for name, values in whole.items())


def job(base: ResidentBase, adapter: LoraAdapter, first: InitialValues) -> Trainee:
    spec = make_spec(adapter=adapter)
    return Trainee(attach(base, "job", spec, 12, initial=first), spec, ROWS)


@pytest.mark.parametrize("method", ["ipm", "kpm"])
def test_a_job_begins_at_the_base_model_and_peft_loads_what_it_leaves(
    base: ResidentBase, tiny_folder: Path, tmp_path: Path, method: str
) -> None:
    adapter = adapter_of(method)
    trainee = job(base, adapter, begin(base, adapter))
    config = assert_it_begins_at_the_base_and_peft_loads_it(base, trainee, ROWS, tiny_folder, tmp_path)
    assert (config["init_lora_weights"], config["corda_config"]) == (True, None)
    assert (config["r"], config["lora_alpha"]) == (8, 16)


def test_a_resumed_job_goes_on_to_the_bit_and_looks_at_no_rows(base: ResidentBase) -> None:
    adapter = adapter_of("ipm")
    undisturbed = job(base, adapter, begin(base, adapter))
    train(base, [undisturbed], 3)
    state = {name: part.clone() for name, part in undisturbed.state().items()}
    train(base, [undisturbed], 3)
    known = parameters_in(state)
    no_rows: list[Row] = []  # of which nothing can be computed
    spec = make_spec(adapter=adapter)
    resumed = job(base, adapter, initial_values(base, spec, no_rows, known, lambda: False))
    resumed.restore(3, state)
    train(base, [resumed], 3)
    assert torch.equal(resumed.adapter.parameters.master, undisturbed.adapter.parameters.master)


@pytest.mark.parametrize("times", [1, len(ROWS) + 1], ids=["row", "weight"])
def test_nobody_waits_for_it_longer_than_for_one(base: ResidentBase, times: int) -> None:
    asked = iter([False] * times + [True])
    with pytest.raises(Abandoned):
        initial_values(base, make_spec(adapter=adapter_of("ipm")), ROWS, {}, lambda: next(asked))


def test_a_module_whose_inputs_are_all_zero_is_refused(changeable_base: ResidentBase) -> None:
    base = changeable_base
    with torch.no_grad():
        base.model.get_parameter("model.layers.1.mlp.up_proj.weight").zero_()
    with pytest.raises(JobError, match=r"cannot use model\.layers\.1\.mlp\.down_proj: its inputs"):
        begin(base, adapter_of("ipm"))


def test_a_rank_that_a_layer_does_not_have_is_refused(base: ResidentBase) -> None:
    with pytest.raises(JobError, match=r"k_proj cannot begin with rank 33; lower .* to 32"):
        begin(base, adapter_of("ipm").model_copy(update={"r": 33}))
