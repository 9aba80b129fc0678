"""Full fine-tuning in our loop: equal to plain transformers, on a copy of the base, within the memory."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Trainer

from core.errors import JobError
from core.estimates.planning import SPARE
from core.estimates.shapes import Load
from core.estimates.whole import Whole, expected_whole_memory
from core.jobs.ancestor import Ancestor
from core.jobs.spec import Hyperparameters, JobSpec, TrainingOptions
from core.methods.whole import FullTuning
from core.objectives.dpo import Dpo
from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE, TINY
from tests.fixtures.engine.objectives import pairs
from tests.fixtures.engine.rows import make_rows, shared_rows
from tests.fixtures.engine.training import MAX_TOKENS, evaluate, make_spec, peft_loss, train
from tests.fixtures.engine.wrappers import FAST_WRAPPERS
from tests.fixtures.models.tiny import named_class, save_model
from worker.engine.adapters.attach import attach
from worker.engine.adapters.modules import whole_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows.row import Row

pytestmark = pytest.mark.slow

RATE = 1e-3
TOWER = FAST_WRAPPERS["gemma 3, text beside a tower"]
MODELS = {
    "llama in bf16": (FAST["llama"], "bf16", 1e-2),
    "qwen 2, biases": (FAST["qwen 2, biases"], "fp32", 1e-5),
    "gemma 2, capped logits": (PORTABLE["gemma 2, capped scores and logits"], "fp32", 1e-5),
    "gemma 3, text beside a tower": (TOWER, "fp32", 1e-5),
    "gpt-oss, sinks and experts": (FAST["gpt-oss, sinks and experts"], "fp32", 1e-5),
    "lfm 2, convolutions": (PORTABLE["lfm 2, short convolutions"], "fp32", 1e-5),
    "qwen 3.5, delta rule": (PORTABLE["qwen 3.5, delta rule"], "fp32", 1e-5),
    "phi 3, row by row": (PLAIN["phi 3, a rotation by the longest row"], "fp32", 1e-5),
}


def spec_of(**changes: Any) -> JobSpec:
    training = TrainingOptions(learning_rate=RATE, warmup_ratio=0.0, weight_decay=0.1)
    return make_spec(**{"adapter": FullTuning(), "training": training, **changes})


def trainee_of(base: ResidentBase, spec: JobSpec, rows: list[Row]) -> Trainee:
    return Trainee(attach(base, "job", spec), spec, rows)


def load(folder: Path, dtype: str = "fp32") -> ResidentBase:
    return ResidentBase(TINY.model_copy(update={"dtype": dtype}), folder, "0" * 64, torch.device("cpu"))


def differences(one: Any, other: Any) -> dict[str, float]:
    """Return the largest difference in each weight, by name."""
    others = dict(other.named_parameters())
    return {name: float((each - others[name]).detach().abs().max()) for name, each in one.named_parameters()}


def trainer_decays(model: Any) -> list[str]:
    return Trainer.get_decay_parameter_names(cast(Any, None), model)


@pytest.mark.parametrize("name", ["gpt-oss, sinks and experts", "qwen 2, biases"])
def test_norms_and_biases_decay_as_little_as_in_transformers_trainer(tmp_path: Path, name: str) -> None:
    save_model((FAST | PORTABLE)[name](), tmp_path)
    adapter = attach(load(tmp_path), "job", spec_of())
    trained, undecayed = adapter.parameters.extents.keys(), adapter.parameters.undecayed
    assert trained - undecayed == trained & set(trainer_decays(adapter.plain_model))
    assert any("bias" in each for each in undecayed)


def test_three_steps_are_those_of_plain_transformers_with_adamw(
    base: ResidentBase, tiny_folder: Path
) -> None:
    rows = shared_rows()
    whole = Hyperparameters(n_epochs=3, batch_size=len(rows), learning_rate_multiplier=1.0)
    constant = TrainingOptions(
        learning_rate=RATE, lr_scheduler_type="constant", warmup_ratio=0.0, weight_decay=0.1
    )
    trainee = trainee_of(base, spec_of(hyperparameters=whole, training=constant), rows)
    plain = AutoModelForCausalLM.from_pretrained(tiny_folder)
    decayed = trainer_decays(plain)
    groups = [
        {"params": [each], "weight_decay": 0.1 if name in decayed else 0.0}
        for name, each in plain.named_parameters()
    ]
    adamw = torch.optim.AdamW(groups, lr=RATE)
    for _ in range(3):
        (result,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
        assert isinstance(result, StepResult)
        loss = peft_loss(plain, rows)
        adamw.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        adamw.step()
        assert result.loss == pytest.approx(loss.item(), rel=1e-5)
        assert result.gradient_norm == pytest.approx(norm.item(), rel=1e-4)
    model: Any = trainee.adapter.plain_model
    assert max(differences(model, plain).values()) < RATE / 20
    assert min(differences(model, base.model).values()) > RATE
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.family(2)
@pytest.mark.parametrize("name", MODELS)
def test_on_any_base_the_loss_falls_and_the_saved_model_has_it(tmp_path: Path, name: str) -> None:
    config, dtype, tolerance = MODELS[name]
    save_model(config(), tmp_path / "base")
    base, rows = load(tmp_path / "base", dtype), make_rows(8, 0)
    before = {name: each.clone() for name, each in base.model.state_dict().items()}
    trainee = trainee_of(base, spec_of(), rows)
    losses = train(base, [trainee], 4)["job"]
    assert losses[-1] < losses[0] - 0.1
    trainee.adapter.save(tmp_path / "saved")
    assert base.model.state_dict().keys() == before.keys()
    assert all(torch.equal(each, before[name]) for name, each in base.model.state_dict().items())
    plain = named_class(tmp_path / "saved").from_pretrained(tmp_path / "saved", dtype=base.dtype)
    with torch.no_grad():
        expected = peft_loss(plain, rows).item()
    found = evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, rows).loss
    assert found == pytest.approx(expected, rel=tolerance)


def test_a_tower_stays_as_it_is(tmp_path: Path) -> None:
    save_model(TOWER(), tmp_path)
    base = load(tmp_path)
    trainee = trainee_of(base, spec_of(), make_rows(8, 0))
    train(base, [trainee], 2)
    moved = differences(trainee.adapter.plain_model, base.model)
    towers = {name for name in moved if "vision" in name or "multi_modal" in name}
    assert towers
    assert {name for name, difference in moved.items() if difference == 0} == towers


@pytest.mark.parametrize("source_dtype", ["float32", "bfloat16"])
def test_the_model_is_saved_in_the_type_of_the_source_weights(tmp_path: Path, source_dtype: str) -> None:
    save_model(FAST["llama"](), tmp_path / "fp32")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "fp32", dtype=source_dtype)
    model.save_pretrained(tmp_path / "base")
    for file in (tmp_path / "fp32").glob("tokenizer*"):
        file.rename(tmp_path / "base" / file.name)
    attach(load(tmp_path / "base"), "job", spec_of()).save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/config.json").read_text())["dtype"] == source_dtype
    saved, base = (load_file(tmp_path / folder / "model.safetensors") for folder in ("saved", "base"))
    assert saved.keys() == base.keys()
    assert all(each.dtype == base[name].dtype for name, each in saved.items())
    assert all(torch.equal(each, base[name]) for name, each in saved.items())


def test_a_large_model_is_saved_in_several_files(
    base: ResidentBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_model, "MAX_FILE", "100KB")
    attach(base, "job", spec_of()).save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"model.safetensors.index.json", "model-00001-of-00005.safetensors"} <= names
    saved = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert max(differences(saved, base.model).values()) == 0


def test_a_resumed_job_ends_with_the_same_model_to_the_bit(base: ResidentBase, tmp_path: Path) -> None:
    rows, spec = make_rows(8, 0), spec_of()
    whole, first_half, resumed = (trainee_of(base, spec, rows) for _ in range(3))
    train(base, [whole], 4)
    train(base, [first_half], 2)
    save_file(first_half.state(), tmp_path / "state")
    resumed.restore(2, load_file(tmp_path / "state"))
    train(base, [resumed], 2)
    assert resumed.finished
    assert torch.equal(resumed.adapter.parameters.master, whole.adapter.parameters.master)
    assert not torch.equal(resumed.adapter.parameters.master, first_half.adapter.parameters.master)


def test_a_lora_job_trains_as_it_would_without_it(base: ResidentBase, tiny_folder: Path) -> None:
    train(base, [trainee_of(base, spec_of(), make_rows(8, 0))], 2)
    masters = []
    for each in (base, load(tiny_folder)):
        trainee = trainee_of(each, make_spec(), make_rows(8, 0))
        train(each, [trainee], 4)
        masters.append(trainee.adapter.parameters.master)
    assert torch.equal(*masters)


def test_dpo_s_reference_is_the_base_model_as_it_was(base: ResidentBase) -> None:
    """If the reference changed with the job's model, every reward would stay 0."""
    trainee = trainee_of(base, spec_of(objective=Dpo(beta=0.1)), pairs(12))
    first, second = (train_round(PassContext(base, MAX_TOKENS), [trainee])["job"] for _ in range(2))
    assert isinstance(first, StepResult)
    assert isinstance(second, StepResult)
    assert first.metrics["rewards/chosen"] == pytest.approx(0, abs=1e-5)
    assert abs(second.metrics["rewards/chosen"]) > 1e-3


def needed_bytes(adapter: Any, step_tokens: int, longest_row: int = 64, **changes: Any) -> int:
    needed: int = adapter._needed_bytes(step_tokens, longest_row, spec_of(**changes))
    return needed


def test_a_job_that_does_not_fit_is_refused_with_both_numbers_and_a_way_out(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = sum(each.numel() for each in base.model.parameters())
    adapter = attach(base, "job", spec_of(), step_tokens=1000, longest_row=64)
    needed = needed_bytes(adapter, 1000)
    assert needed > 16 * numbers
    in_eight_bits = needed_bytes(adapter, 1000, training=TrainingOptions(optimizer="adamw_8bit"))
    assert needed - in_eight_bits == pytest.approx((6 - 8 / 256) * numbers, abs=16)
    free = round(needed / (1 - SPARE["cpu"])) + 1
    monkeypatch.setattr(whole_model, "free_bytes", lambda _: free)
    attach(base, "job", spec_of(), step_tokens=1000, longest_row=64)
    with pytest.raises(JobError) as raised:
        attach(base, "job", spec_of(), step_tokens=1100, longest_row=64)
    assert (raised.value.code, raised.value.param) == ("out_of_memory", "adapter.type")
    assert f"only {needed / 1e6:.1f} MB can be used" in raised.value.message
    assert "LoRA" in raised.value.message


@pytest.mark.parametrize("tokens", [256, 2048])
def test_the_estimate_of_a_job_says_what_its_trainer_says(base: ResidentBase, tokens: int) -> None:
    shape = base.budget.model
    assert shape is not None
    adapter = attach(base, "job", spec_of())
    parent = [Ancestor(model="tiny", sha256="0" * 64)]
    for keeps_parent, changes in ((False, {}), (True, {"objective": Dpo(), "lineage": parent})):
        load = Load(Whole.of(shape).state(keeps_parent), 128, "cpu")
        expected = expected_whole_memory(shape, load, tokens).beside_base
        assert needed_bytes(adapter, tokens, 128, **changes) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("name", "keeps_scores"),
    [
        ("granite, scaled logits", False),
        ("gemma 2, capped scores and logits", True),
        ("gpt-oss, sinks and experts", True),
    ],
)
def test_activations_are_computed_from_those_that_autograd_keeps_of_short_rows(
    tmp_path: Path, name: str, keeps_scores: bool
) -> None:
    """They are proportional to the tokens, and where scores are kept they also grow with a row's length."""
    save_model((FAST | PORTABLE)[name](), tmp_path)
    adapter: Any = attach(load(tmp_path), "job", spec_of())
    of_one_row = adapter._kept_bytes(512, 512)
    assert of_one_row == pytest.approx(adapter._kept_of_row(512), rel=0.1)
    assert (of_one_row > 1.5 * adapter._kept_bytes(512, 64)) == keeps_scores
