"""Every method that PEFT computes, in our loop: equal to plain PEFT, resumable, and saved as PEFT saves."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from core.errors import JobError
from core.jobs.spec import Hyperparameters, TrainingOptions, usual_learning_rate
from core.methods import registry
from core.methods.registry import AdapterOptions
from core.objectives.dpo import Dpo
from core.objectives.kto import Kto
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE, TINY
from tests.fixtures.engine.methods import (
    BESIDE,
    CASES,
    METHODS,
    PROMPTS,
    move,
    relative,
    spec_of,
    trainee_of,
)
from tests.fixtures.engine.objectives import assert_a_round_gives, by_the_paper, rows_of
from tests.fixtures.engine.rows import make_rows, shared_rows
from tests.fixtures.engine.training import (
    IN_A_PIECE,
    MAX_TOKENS,
    evaluate,
    make_spec,
    make_trainee,
    peft_loss,
    train,
)
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.kernels.transformers_attention import NAME
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import StepResult, Trainee

pytestmark = [pytest.mark.slow, pytest.mark.family(2)]

of_each_method, of_each_case = (pytest.mark.parametrize("case", cases) for cases in (METHODS, CASES))


@of_each_case
def test_loss_and_gradient_are_those_of_transformers_with_peft(
    base: ResidentBase, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eight = Hyperparameters(n_epochs=2, batch_size=8, learning_rate_multiplier=1.0)
    trainee = trainee_of(base, spec_of(case, hyperparameters=eight), shared_rows())
    move(trainee)
    model: Any = trainee.adapter.plain_model
    model.get_base_model().set_attn_implementation(base.own_attention)
    expected = peft_loss(model, trainee.next_rows)
    expected.backward()
    gradient = trainee.adapter.parameters.gradient
    expected_gradient = gradient.clone()
    trainee.forget_gradient()
    if not case.startswith(PROMPTS):
        model.get_base_model().set_attn_implementation(NAME)
    seen: list[torch.Tensor] = []

    def take_step(_rows: Any, loss: float, accuracy: float, norm: float) -> StepResult:
        seen.append(gradient.clone())
        return StepResult(1, loss, accuracy, 0, 0, norm)

    monkeypatch.setattr(trainee, "take_step", take_step)
    (result,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
    assert isinstance(result, StepResult)
    assert expected_gradient.norm() > 0
    assert result.loss == pytest.approx(expected.item(), rel=1e-5)
    assert relative(seen[0], expected_gradient) < 1e-4


@pytest.mark.parametrize(
    "objective", [Dpo(beta=0.3), Kto(beta=0.4, desirable_weight=1.5)], ids=lambda objective: objective.type
)
@pytest.mark.parametrize("case", ["prefix_tuning", "prompt_tuning", "loha"])
def test_preferences_train_by_the_paper_s_loss_and_gradient(
    base: ResidentBase, case: str, objective: Dpo | Kto
) -> None:
    """The reference is the base model, without virtual tokens and with its own weights."""
    eight = Hyperparameters(n_epochs=2, batch_size=8, learning_rate_multiplier=1.0)
    spec = spec_of(case, hyperparameters=eight, objective=objective)
    trainee = trainee_of(base, spec, rows_of(spec, 12))
    move(trainee, 0.5)
    model: Any = trainee.adapter.plain_model
    attention = model.config._attn_implementation
    model.get_base_model().set_attn_implementation(base.own_attention)
    expected, metrics = by_the_paper(objective, model, trainee.next_rows)
    model.get_base_model().set_attn_implementation(attention)
    result = assert_a_round_gives(base, trainee, expected)
    assert {name: result.metrics[name] for name in metrics} == pytest.approx(metrics, rel=1e-4, abs=1e-5)
    rewards = metrics["rewards/chosen"], metrics["rewards/rejected"]
    assert max(map(abs, rewards)) > 1e-3, "the adapter must differ from the base"


def test_every_method_on_offer_is_tried_here() -> None:
    assert METHODS.keys() == registry.METHODS.keys() - {"lora", "adalora", "full"}


@of_each_method
def test_training_lowers_the_loss(base: ResidentBase, case: str) -> None:
    rows = make_rows(4, 0)
    ten = Hyperparameters(n_epochs=10, batch_size=4, learning_rate_multiplier=1.0)
    rate = max(1e-2, usual_learning_rate(case))
    training = TrainingOptions(learning_rate=rate, warmup_ratio=0.0)
    trainee = trainee_of(base, spec_of(case, hyperparameters=ten, training=training), rows)
    losses = train(base, [trainee], 10, IN_A_PIECE)["job"]
    assert losses[-1] < losses[0] - 0.01


@of_each_case
def test_a_saved_adapter_loads_in_plain_peft_and_gives_the_same_loss(
    base: ResidentBase, tiny_folder: Path, tmp_path: Path, case: str
) -> None:
    rows = make_rows(6, 0)
    trainee = trainee_of(base, spec_of(case), rows)
    move(trainee, 0.5)
    train(base, [trainee], 1)
    trainee.adapter.save(tmp_path)
    if not case.startswith("randlora"):  # its layers name the random matrices too, which are saved once
        warnings.filterwarnings("error", "Found missing adapter keys")
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder), tmp_path)
    with torch.no_grad():
        expected = peft_loss(plain, rows).item()
        untrained = peft_loss(base.model, rows).item()
    found = evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, rows).loss
    assert found == pytest.approx(expected, rel=1e-4)
    assert found != pytest.approx(untrained, rel=1e-6)


@pytest.mark.parametrize("case", [*METHODS, *BESIDE])
def test_a_resumed_job_ends_with_the_same_adapter_to_the_bit(
    base: ResidentBase, tmp_path: Path, case: str
) -> None:
    rows, spec = make_rows(8, 0), spec_of(case)
    whole = trainee_of(base, spec, rows)
    train(base, [whole], 4, IN_A_PIECE)
    first_half = trainee_of(base, spec, rows)
    train(base, [first_half], 2, IN_A_PIECE)
    save_file(first_half.state(), tmp_path / "state")
    resumed = trainee_of(base, spec, rows)
    resumed.restore(2, load_file(tmp_path / "state"))
    train(base, [resumed], 2, IN_A_PIECE)
    assert resumed.finished
    assert torch.equal(resumed.adapter.parameters.master, whole.adapter.parameters.master)
    assert not torch.equal(resumed.adapter.parameters.master, first_half.adapter.parameters.master)


def found_otherwise(trainee: Trainee) -> None:
    """Change tensors as another machine may derive them from the same weights: other signs, another order."""
    for name, tensor in trainee.adapter.plain_model.named_buffers():
        if "tinylora_A" in name:
            tensor[0].neg_()
        elif "tinylora_B" in name:
            tensor[:, 0].neg_()
        elif "supertuning_indices" in name:
            tensor.copy_(tensor.flip(0))


@pytest.mark.parametrize("case", ["tinylora", "supertuning"])
def test_a_resume_takes_what_was_found_in_the_weights_from_the_checkpoint(
    base: ResidentBase, tmp_path: Path, case: str
) -> None:
    rows, spec = make_rows(8, 0), spec_of(case)
    first = trainee_of(base, spec, rows)
    move(first, 0.5)
    expected = evaluate(PassContext(base, MAX_TOKENS), first.adapter, rows).loss
    save_file(first.state(), tmp_path / "state")
    resumed = trainee_of(base, spec, rows)
    found_otherwise(resumed)
    resumed.restore(1, load_file(tmp_path / "state"))
    assert evaluate(PassContext(base, MAX_TOKENS), resumed.adapter, rows).loss == expected
    found_otherwise(resumed)
    assert evaluate(PassContext(base, MAX_TOKENS), resumed.adapter, rows).loss != pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("case", ["tinylora", "supertuning"])
def test_a_saved_adapter_has_what_was_found_in_the_weights(
    base: ResidentBase, tiny_folder: Path, tmp_path: Path, case: str
) -> None:
    rows = make_rows(6, 0)
    trainee = trainee_of(base, spec_of(case), rows)
    found_otherwise(trainee)
    move(trainee, 0.5)
    trainee.adapter.save(tmp_path)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder), tmp_path)
    with torch.no_grad():
        expected = peft_loss(plain, rows).item()
    assert evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, rows).loss == pytest.approx(
        expected, rel=1e-4
    )


def test_few_numbers_are_saved_as_few(base: ResidentBase, tmp_path: Path) -> None:
    targets = [each for each in base.model.modules() if isinstance(each, nn.Linear)]
    parts = 2 * sum(each.in_features + each.out_features for each in targets[:-1]) // 16
    numbers = {"unilora": 3000, "vblora of three, saved small": 16 * 16 + parts * (3 + 2)}
    for case, expected in numbers.items():
        trainee_of(base, spec_of(case), make_rows(4, 0)).adapter.save(tmp_path)
        saved = load_file(tmp_path / WEIGHTS_NAME).values()
        assert sum(tensor.numel() for tensor in saved) == expected, case


@pytest.mark.slow
def test_a_lora_job_trains_as_it_would_without_the_others(base: ResidentBase, tiny_folder: Path) -> None:
    fresh = ResidentBase(TINY, tiny_folder, "0" * 64, torch.device("cpu"))
    modules, weights = dict(base.model.named_modules()), dict(base.model.named_parameters())
    others = [trainee_of(base, spec_of(case), make_rows(4, 0)) for case in METHODS]
    for other in others:
        train(base, [other], 1)
    masters = []
    for each in (base, fresh):
        trainee = make_trainee(each, "lora", make_spec(), make_rows(8, 0))
        train(each, [trainee], 4)
        masters.append(trainee.adapter.parameters.master)
    assert torch.equal(*masters)
    assert dict(base.model.named_modules()) == modules
    assert all(weights[name] is parameter for name, parameter in base.model.named_parameters())
    assert base.model.config._attn_implementation == fresh.model.config._attn_implementation


def test_what_is_drawn_at_random_follows_from_the_seed(base: ResidentBase) -> None:
    models: list[Any] = [attach(base, "job", spec_of("shira", seed=seed)).plain_model for seed in (3, 3, 4)]
    first, same, other = (
        model.get_base_model().get_submodule("model.layers.0.mlp.up_proj").shira_indices["default"]
        for model in models
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "case", [name for name in METHODS if "layers_to_transform" in registry.METHODS[name].options.model_fields]
)
def test_a_method_changes_only_the_layers_that_it_is_limited_to(base: ResidentBase, case: str) -> None:
    spec = spec_of(case)
    changes = {"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1]}
    limited = spec.model_copy(update={"adapter": spec.adapter.model_copy(update=changes)})
    model: Any = attach(base, "job", limited).plain_model
    modules = model.get_base_model().named_modules()
    changed = {name for name, module in modules if isinstance(module, BaseTunerLayer)}
    assert changed == {"model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj"}


@pytest.mark.parametrize(
    ("adapter", "param", "expected"),
    [
        ({"type": "c3a", "block_size": 7}, "adapter", "block size"),
        ({"type": "loha", "target_modules": ["no_such_proj"]}, "adapter.target_modules", "no_such_proj"),
        ({"type": "loha", "target_modules": ["lm_head"]}, "adapter.target_modules", "lm_head"),
        ({"type": "ln_tuning", "target_modules": ["q_proj"]}, "adapter.target_modules", "input_layernorm"),
        ({"type": "trainable_tokens", "token_indices": [1, 300]}, "adapter.token_indices", "300"),
        ({"type": "boft", "boft_block_size": 7}, "adapter", "boft_block_size"),
        ({"modules_to_save": ["no_such_module"]}, "adapter.modules_to_save", "no such module"),
        (
            {"modules_to_save": ["norm"]},
            "adapter.modules_to_save",
            "PEFT would train model.layers.0.input_layernorm",
        ),
        ({"trainable_token_indices": [1, 300]}, "adapter.trainable_token_indices", "300"),
    ],
)
def test_what_the_model_cannot_take_is_refused_in_the_client_s_words(
    base: ResidentBase, adapter: dict[str, Any], param: str, expected: str
) -> None:
    spec = make_spec(adapter=TypeAdapter(AdapterOptions).validate_python(adapter))
    with pytest.raises(JobError) as raised:
        attach(base, "job", spec)
    assert (raised.value.code, raised.value.param) == ("invalid_adapter", param)
    assert expected in raised.value.message


BASES = {
    "qwen 2": (FAST["qwen 2, biases"], "fp32", 1e-4),
    "qwen 3": (FAST["qwen 3, norms of queries"], "fp32", 1e-4),
    "gemma 2": (PORTABLE["gemma 2, capped scores and logits"], "fp32", 1e-4),
    "lfm 2": (PORTABLE["lfm 2, short convolutions"], "fp32", 1e-4),
    "phi 3, row by row": (PLAIN["phi 3, a rotation by the longest row"], "fp32", 1e-4),
    "llama in bf16": (FAST["llama"], "bf16", 2e-2),
}
# PEFT cannot; LFM 2's norms have other names
NOT_ON = {
    "lfm 2": {"prefix_tuning", "ln_tuning of some", "lora and the head"},
    "phi 3, row by row": {"lora and the embedding"},  # its queries, keys and values are one layer
}
ON_ANY_BASE = {
    "loha",
    "ln_tuning of some",
    "trainable_tokens",
    "prompt_tuning",
    "prefix_tuning",
    "oft",
    "gralora beside a lora",
    "delora",
    "hira",
    "glora",
    "peanut",
    "deft",
    "vblora",
    "unilora",
    "tinylora",
    "supertuning beside a lora",
    "road",
    "waveft",
    *BESIDE,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_losses_on_other_bases_are_those_of_transformers_with_peft(tmp_path: Path, name: str) -> None:
    config, dtype, tolerance = BASES[name]
    save_model(config(), tmp_path)
    entry = TINY.model_copy(update={"dtype": dtype})
    other = ResidentBase(entry, tmp_path, "0" * 64, torch.device("cpu"))
    rows = make_rows(4, 0)
    for case in ON_ANY_BASE - NOT_ON.get(name, set()):
        trainee = trainee_of(other, spec_of(case), rows)
        move(trainee)
        trainee.adapter.parameters.refresh()
        model: Any = trainee.adapter.plain_model
        attention = model.config._attn_implementation
        model.get_base_model().set_attn_implementation(other.own_attention)
        with torch.no_grad():
            expected = peft_loss(model, rows).item()
        model.get_base_model().set_attn_implementation(attention)
        before = evaluate(PassContext(other, IN_A_PIECE), trainee.adapter, rows).loss
        assert before == pytest.approx(expected, rel=tolerance), case
        train(other, [trainee], 2, IN_A_PIECE)
        assert evaluate(PassContext(other, IN_A_PIECE), trainee.adapter, rows).loss < before, case
