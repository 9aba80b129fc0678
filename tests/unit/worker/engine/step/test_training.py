"""Training with the engine: equal to PEFT, independent of neighbours, repeatable, resumable."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from core.errors import JobError
from core.jobs.spec import Hyperparameters, LoraAdapter
from core.methods.low_rank import AdaLoraAdapter, LowRankAdapter
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.engine.rows import make_rows, shared_rows
from tests.fixtures.engine.training import (
    MAX_TOKENS,
    evaluate,
    gradient_of_a_step,
    make_spec,
    make_trainee,
    peft_loss,
    peft_parameters,
    peft_twin,
    randomize,
    train,
)
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.passes import Abandoned
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row

PATTERNS = {"rank_pattern": {"q_proj": 7, "layers.1.mlp.down_proj": 2}, "alpha_pattern": {"v_proj": 3}}
SOME_LAYERS = {
    "target_modules": ["q_proj", "down_proj", "model.layers.0.mlp.up_proj"],
    "layers_to_transform": [1],
    "layers_pattern": ["h", "layers"],
}
ADAPTERS = {
    "lora": LoraAdapter(r=4, lora_alpha=8),
    "some layers": LoraAdapter(r=4, lora_alpha=8, **SOME_LAYERS),
    "patterns": LoraAdapter(r=4, lora_alpha=8, use_rslora=True, **PATTERNS),
    "pissa": LoraAdapter(r=4, lora_alpha=8, init_lora_weights="pissa"),
    "olora patterns": LoraAdapter(r=4, use_rslora=True, init_lora_weights="olora", **PATTERNS),
    "adalora": AdaLoraAdapter(init_r=6, target_r=2, lora_alpha=8),
    "dora": LoraAdapter(r=4, lora_alpha=8, use_dora=True),
    "dora patterns": LoraAdapter(r=4, lora_alpha=8, use_dora=True, use_rslora=True, **PATTERNS),
}
each_adapter = pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
DROPPING = {
    "dropout": LoraAdapter(r=4, lora_alpha=8, lora_dropout=0.3),
    "adalora dropout": AdaLoraAdapter(init_r=6, target_r=2, lora_alpha=8, lora_dropout=0.3),
    "dora dropout": LoraAdapter(r=4, lora_alpha=8, use_dora=True, lora_dropout=0.3),
}
each_dropping_or_not = pytest.mark.parametrize(
    "adapter", [*ADAPTERS.values(), *DROPPING.values()], ids=[*ADAPTERS, *DROPPING]
)


class Trained(NamedTuple):
    """A job that trained alone to its end, and its losses."""

    trainee: Trainee
    losses: list[float]


@pytest.fixture(scope="module")
def all_trained() -> dict[str, Trained]:
    return {}


@pytest.fixture
def alone(base: ResidentBase, adapter: LowRankAdapter, all_trained: dict[str, Trained]) -> Trained:
    """Train each adapter once: the tests compare other jobs with it, and change nothing."""
    key = adapter.model_dump_json()
    if key not in all_trained:
        trainee = make_trainee(base, "alone", make_spec(adapter=adapter), make_rows(12, 0))
        all_trained[key] = Trained(trainee, train(base, [trainee], 6)["alone"])
    return all_trained[key]


@pytest.mark.family(6)
@each_adapter
@pytest.mark.parametrize("rows", [make_rows(12, 0), shared_rows()], ids=["unlike", "with shared prefixes"])
def test_loss_and_gradient_are_those_of_transformers_with_peft(
    base: ResidentBase, tiny_folder: Path, rows: list[Row], adapter: LowRankAdapter
) -> None:
    hyperparameters = Hyperparameters(n_epochs=2, batch_size=8, learning_rate_multiplier=1.0)
    spec = make_spec(hyperparameters=hyperparameters, adapter=adapter)
    trainee = make_trainee(base, "job", spec, rows)
    randomize(trainee.adapter)
    rows = trainee.next_rows
    model = peft_twin(tiny_folder, trainee)
    expected = peft_loss(model, rows)
    expected.backward()
    expected_gradient = torch.cat([p.grad.flatten() for p in peft_parameters(model, trainee).values()])
    result, gradient = gradient_of_a_step(
        trainee, lambda: train_round(PassContext(base, MAX_TOKENS), [trainee])
    )
    assert result.loss == pytest.approx(expected.item(), rel=1e-5)
    assert (gradient - expected_gradient).norm() / expected_gradient.norm() < 1e-4


@each_dropping_or_not
def test_a_round_cut_into_micro_batches_equals_one_in_a_piece(
    base: ResidentBase, adapter: LowRankAdapter
) -> None:
    eight = Hyperparameters(n_epochs=2, batch_size=8, learning_rate_multiplier=1.0)
    spec = make_spec(adapter=adapter, hyperparameters=eight)
    first, second = (make_trainee(base, name, spec, shared_rows()) for name in ("first", "second"))
    for trainee in (first, second):
        randomize(trainee.adapter)
    cut, gradient = gradient_of_a_step(first, lambda: train_round(PassContext(base, 30), [first]))
    whole, gradient_of_whole = gradient_of_a_step(
        second, lambda: train_round(PassContext(base, 10_000), [second])
    )
    assert cut.loss == pytest.approx(whole.loss, rel=1e-6)
    assert (gradient - gradient_of_whole).norm() / gradient_of_whole.norm() < 1e-5


@pytest.mark.family(4)
@each_dropping_or_not
def test_a_job_trained_beside_others_equals_the_job_alone(
    base: ResidentBase, adapter: LowRankAdapter, alone: Trained
) -> None:
    """Mixed ranks, targets, batch sizes, rates and lengths; a neighbour that ends earlier."""
    other = make_spec(
        seed=9,
        adapter=LoraAdapter(r=2, target_modules=["q_proj", "down_proj"]),
        hyperparameters=Hyperparameters(n_epochs=1, batch_size=3, learning_rate_multiplier=2.0),
    )
    beside = make_trainee(base, "beside", make_spec(adapter=adapter), make_rows(12, 0))
    neighbour = make_trainee(base, "neighbour", other, make_rows(9, 5))
    together = train(base, [neighbour, beside], 6)["beside"]
    assert neighbour.finished
    assert together == pytest.approx(alone.losses, rel=1e-4)


def test_the_same_seed_gives_the_same_adapter_to_the_bit(base: ResidentBase) -> None:
    first = make_trainee(base, "first", make_spec(), make_rows(12, 0))
    train(base, [first], 6)
    second = make_trainee(base, "second", make_spec(), make_rows(12, 0))
    train(base, [second], 6)
    assert torch.equal(first.adapter.parameters.master, second.adapter.parameters.master)


@pytest.mark.family(4)
@each_dropping_or_not
def test_a_resumed_job_ends_with_the_same_adapter_to_the_bit(
    base: ResidentBase, tmp_path: Path, adapter: LowRankAdapter, alone: Trained
) -> None:
    spec = make_spec(adapter=adapter)
    first_half = make_trainee(base, "first_half", spec, make_rows(12, 0))
    train(base, [first_half], 4)
    save_file(first_half.state(), tmp_path / "state")
    resumed = make_trainee(base, "resumed", spec, make_rows(12, 0))
    for tensor in resumed.adapter.parameters.kept.values():
        tensor.zero_()  # another machine may have come to something else
    resumed.restore(4, load_file(tmp_path / "state"))
    train(base, [resumed], 2)
    assert resumed.finished
    assert torch.equal(resumed.adapter.parameters.master, alone.trainee.adapter.parameters.master)


def test_training_lowers_the_loss(base: ResidentBase) -> None:
    rows = make_rows(4, 0)
    spec = make_spec(hyperparameters=Hyperparameters(n_epochs=20, batch_size=4, learning_rate_multiplier=1.0))
    trainee = make_trainee(base, "job", spec, rows)
    before = evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, rows)
    losses = train(base, [trainee], 20)["job"]
    after = evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, rows)
    assert losses[0] == pytest.approx(before.loss, rel=1e-5)
    assert after.loss < before.loss - 0.5


@pytest.mark.family(4)
@each_dropping_or_not
def test_a_saved_adapter_loads_in_plain_peft_and_gives_the_same_loss(
    base: ResidentBase, tiny_folder: Path, tmp_path: Path, alone: Trained
) -> None:
    rows, trained = make_rows(12, 0), alone.trainee.adapter
    trained.save(tmp_path)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder), tmp_path).eval()
    with torch.no_grad():
        expected = peft_loss(plain, rows).item()
    loss = evaluate(PassContext(base, MAX_TOKENS), trained, rows).loss
    assert loss == pytest.approx(expected, rel=1e-4)
    assert all(name.startswith("base_model.model.") for name in load_file(tmp_path / WEIGHTS_NAME))


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_rows(base: ResidentBase) -> None:
    trainee = make_trainee(base, "job", make_spec(), make_rows(12, 0))
    with torch.no_grad():
        trainee.adapter.parameters.master[0] = float("nan")
    before = trainee.adapter.parameters.master.clone()
    lines = sorted(row.line for row in trainee.next_rows)
    (result,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
    assert isinstance(result, JobError)
    assert result.code == "non_finite_loss"
    assert all(str(line) in result.message for line in lines)
    assert torch.equal(trainee.adapter.parameters.master.isnan(), before.isnan())
    assert trainee.step == 0


def test_an_abandoned_round_moves_nobody(base: ResidentBase) -> None:
    trainee = make_trainee(base, "job", make_spec(), make_rows(12, 0))
    before = trainee.adapter.parameters.master.clone()
    answers = iter([False, True])
    assert train_round(PassContext(base, 30, abandon=lambda: next(answers)), [trainee]) == {}
    assert trainee.step == 0
    assert torch.equal(trainee.adapter.parameters.master, before)
    reference = make_trainee(base, "reference", make_spec(), make_rows(12, 0))
    train(base, [trainee], 2)
    train(base, [reference], 2)
    assert torch.equal(trainee.adapter.parameters.master, reference.adapter.parameters.master)


def test_an_evaluation_is_abandoned_between_micro_batches(base: ResidentBase) -> None:
    trainee = make_trainee(base, "job", make_spec(), make_rows(12, 0))
    answers = iter([False, False, True])
    with pytest.raises(Abandoned):
        evaluate(PassContext(base, 30, abandon=lambda: next(answers)), trainee.adapter, trainee.rows)
    assert next(answers, None) is None


def test_a_target_that_the_model_lacks_is_refused_by_name(base: ResidentBase) -> None:
    spec = LoraAdapter(target_modules=["no_such_proj"])
    with pytest.raises(JobError, match="no_such_proj"):
        TrainableAdapter(base, "job", spec, 0)


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_a_target_outside_the_blocks_is_refused_and_not_left_untrained(
    base: ResidentBase, target: str
) -> None:
    with pytest.raises(JobError, match=f"{target} cannot be adapted"):
        TrainableAdapter(base, "job", LoraAdapter(target_modules=["q_proj", target]), 0)


def test_an_adapter_can_be_attached_after_the_last_one_left(base: ResidentBase, tmp_path: Path) -> None:
    for name in ("first", "second"):
        trainee = make_trainee(base, name, make_spec(), make_rows(12, 0))
        train(base, [trainee], 1)
        trainee.adapter.save(tmp_path / name)
    first, second = ((tmp_path / name / WEIGHTS_NAME).read_bytes() for name in ("first", "second"))
    assert first == second, "the first one left something behind"
