"""PiSSA and OLoRA begin at the base model with PEFT's A and B, and are saved as a plain LoRA."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config

from core.errors import JobError
from core.jobs.spec import LoraAdapter
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import MAX_TOKENS, evaluate, make_spec, make_trainee, peft_loss, train
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.lora_config import lora_config
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext

INITS = ["pissa", "pissa_niter_4", "olora"]


@pytest.mark.parametrize("init", INITS)
def test_a_job_begins_at_the_base_model_and_its_weights_stay(base: ResidentBase, init: str) -> None:
    weights = {name: weight.clone() for name, weight in base.model.named_parameters()}
    rows = make_rows(6, 0)
    plain = make_trainee(base, "plain", make_spec(), rows)
    trainee = make_trainee(base, "job", make_spec(adapter=LoraAdapter(init_lora_weights=init)), rows)
    parts = trainee.adapter.parameters.named(trainee.adapter.parameters.master)
    assert all(part.any() for part in parts.values()), "B must not be 0"
    losses = [evaluate(PassContext(base, MAX_TOKENS), each.adapter, rows).loss for each in (trainee, plain)]
    assert losses[0] == losses[1]
    train(base, [trainee], 1)
    assert all(torch.equal(weights[name], weight) for name, weight in base.model.named_parameters())


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_it_begins_with_what_peft_begins_with(base: ResidentBase, tiny_folder: Path, init: str) -> None:
    adapter = TrainableAdapter(base, "job", LoraAdapter(init_lora_weights=init), 0)
    theirs = PeftModel(
        AutoModelForCausalLM.from_pretrained(tiny_folder), lora_config(adapter.spec, "all-linear", 1)
    )
    for name, part in adapter.parameters.named(adapter.parameters.master.detach()).items():
        module, factor = name.rsplit(".", 1)
        layer = theirs.get_base_model().get_submodule(module)
        assert torch.allclose(part, getattr(layer, factor)["default"].weight, atol=1e-5), name


def test_a_seed_chooses_what_an_approximate_decomposition_finds(base: ResidentBase) -> None:
    spec = LoraAdapter(init_lora_weights="pissa_niter_1")
    first, again, other = (TrainableAdapter(base, "job", spec, seed).parameters.master for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_saved_configuration_is_a_plain_lora_s_of_twice_the_rank(
    base: ResidentBase, tmp_path: Path
) -> None:
    patterns = {"rank_pattern": {"q_proj": 7}, "alpha_pattern": {"v_proj": 3}}
    spec = LoraAdapter(r=4, lora_alpha=8, init_lora_weights="pissa", **patterns)
    TrainableAdapter(base, "job", spec, 0).save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["init_lora_weights"] is True
    assert (config["r"], config["lora_alpha"]) == (8, 16)
    assert (config["rank_pattern"], config["alpha_pattern"]) == ({"q_proj": 14}, {"v_proj": 6})


def test_small_changes_outlive_the_saving_in_a_narrow_type(
    base: ResidentBase, tiny_folder: Path, tmp_path: Path
) -> None:
    """PEFT's conversion would save A beside A₀, and their difference is too small for bf16."""
    rows = make_rows(6, 0)
    spec = make_spec(adapter=LoraAdapter(init_lora_weights="pissa"))
    trainee = make_trainee(base, "job", spec, rows)
    before = evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, rows).loss
    with torch.no_grad():
        trainee.adapter.parameters.master.mul_(1.0005)
    change = evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, rows).loss - before
    trainee.adapter.save(tmp_path)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder), tmp_path)
    for name, parameter in plain.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.bfloat16().float()
    with torch.no_grad():
        assert peft_loss(plain, rows).item() - before == pytest.approx(change, rel=0.05)


def test_a_rank_that_a_layer_does_not_have_is_refused(base: ResidentBase) -> None:
    with pytest.raises(JobError, match=r"k_proj cannot begin with rank 33; lower .* to 32"):
        TrainableAdapter(base, "job", LoraAdapter(r=33, init_lora_weights="pissa"), 0)


def test_olora_is_refused_where_peft_would_mistake_the_layout(tmp_path: Path) -> None:
    save_model(GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4, n_positions=512), tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, torch.device("cpu"))
    TrainableAdapter(base, "job", LoraAdapter(r=4, init_lora_weights="pissa"), 0)
    with pytest.raises(JobError, match="layout"):
        TrainableAdapter(base, "job", LoraAdapter(r=4, init_lora_weights="olora"), 0)
