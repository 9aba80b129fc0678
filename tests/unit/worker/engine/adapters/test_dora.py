"""DoRA trains magnitudes beside LoRA's factors, as PEFT does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, PretrainedConfig

from core.jobs.spec import Hyperparameters, TrainingOptions
from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE, TINY
from tests.fixtures.engine.few_bits import in_whole_blocks
from tests.fixtures.engine.rows import make_rows, shared_rows
from tests.fixtures.engine.training import (
    MAX_TOKENS,
    assert_a_step_is_peft_s,
    evaluate,
    make_spec,
    make_trainee,
    train,
)
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.quantisation import (
    make_trainable,
    quantise_embeddings,
    quantization_config,
)
from worker.engine.decoders.layer_weight import weight_of
from worker.engine.step.context import PassContext
from worker.engine.step.trainee import Trainee

pytestmark = pytest.mark.slow

DORA = LoraAdapter(r=4, lora_alpha=8, use_dora=True)
EIGHT = Hyperparameters(n_epochs=2, batch_size=8, learning_rate_multiplier=1.0)
CPU = torch.device("cpu")
MAGNITUDE = "lora_magnitude_vector"


def gpt2() -> PretrainedConfig:
    return GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4, n_positions=512)


BASES = {
    "llama": FAST["llama"],
    "qwen 2, biases": FAST["qwen 2, biases"],
    "gpt 2, turned weights": gpt2,
    "lfm 2, convolutions": PORTABLE["lfm 2, short convolutions"],
    "phi 3, row by row": PLAIN["phi 3, a rotation by the longest row"],
}


def trainee_on(base: ResidentBase, **changes: Any) -> Trainee:
    """Make a trainee with other parameters than the initial ones, for which half of the gradients vanish."""
    trainee = make_trainee(
        base, "job", make_spec(**{"adapter": DORA, "hyperparameters": EIGHT, **changes}), shared_rows()
    )
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, part in trainee.adapter.parameters.named(trainee.adapter.parameters.master).items():
            if name.endswith(MAGNITUDE):
                part.mul_(1 + 0.2 * torch.randn(part.shape, generator=random))
            else:
                part.normal_(0, 0.1, generator=random)
    return trainee


@pytest.mark.family(2)
@pytest.mark.parametrize("make", BASES.values(), ids=BASES)
def test_a_step_is_that_of_peft_on_any_path(make: Callable[[], PretrainedConfig], tmp_path: Path) -> None:
    save_model(make(), tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, CPU)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert_a_step_is_peft_s(base, trainee_on(base), plain, tmp_path / "adapter")


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_on_a_quantised_base_it_is_peft_s_on_the_same_weights(quantization: Any, tmp_path: Path) -> None:
    save_model(in_whole_blocks(FAST["qwen 2, biases"]()), tmp_path)
    base = ResidentBase(TINY.model_copy(update={"quantization": quantization}), tmp_path, "0" * 64, CPU)
    plain = AutoModelForCausalLM.from_pretrained(
        tmp_path,
        dtype=torch.float32,
        quantization_config=quantization_config(quantization, torch.float32, "tiny"),
        device_map={"": CPU},
    )
    # On a CPU in 8 bits PEFT loses the weights' scales, unless they have been read before
    make_trainable(plain)
    if quantization == "nf4":
        quantise_embeddings(plain, torch.float32)
    TrainableAdapter(base, "another", DORA, 0)
    assert_a_step_is_peft_s(base, trainee_on(base), plain, tmp_path / "adapter")


def test_a_job_begins_at_the_base_model_to_the_bit(base: ResidentBase) -> None:
    rows = make_rows(6, 0)
    losses = [
        evaluate(
            PassContext(base, MAX_TOKENS), TrainableAdapter(base, "job", LoraAdapter(use_dora=dora), 0), rows
        ).loss
        for dora in (False, True)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("init", [True, "orthogonal"])
def test_magnitudes_begin_with_the_norms_of_the_weights(base: ResidentBase, init: Any) -> None:
    spec = LoraAdapter(r=4, use_dora=True, init_lora_weights=init)
    parameters = TrainableAdapter(base, "job", spec, 0).parameters
    for name, part in parameters.named(parameters.master.detach()).items():
        module, factor = name.rsplit(".", 1)
        if factor == MAGNITUDE:
            norms_N = weight_of(base.model.get_submodule(module)).norm(dim=1)
            assert torch.allclose(part, norms_N, rtol=1e-5), name


def test_in_bf16_a_small_change_of_a_magnitude_counts(tiny_folder: Path) -> None:
    """The factor is g - 1, because above 1 bf16 would round g itself to a multiple of 1/128."""
    base = ResidentBase(TINY.model_copy(update={"dtype": "bf16"}), tiny_folder, "0" * 64, CPU)
    parameters = TrainableAdapter(base, "job", DORA, 0).parameters
    with torch.no_grad():
        for name, part in parameters.named(parameters.master).items():
            if name.endswith(MAGNITUDE):
                part.mul_(1.001)
    parameters.refresh()
    gains = [part for name, part in parameters.named(parameters.low).items() if name.endswith(MAGNITUDE)]
    assert torch.cat(gains).float() == pytest.approx(0.001, rel=0.01)


def test_magnitudes_are_trained_and_stand_in_checkpoints(base: ResidentBase) -> None:
    trainee = make_trainee(base, "job", make_spec(adapter=DORA), make_rows(12, 0))
    before = {name: part.clone() for name, part in trainee.state().items()}
    train(base, [trainee], 2)
    after = trainee.state()
    names = [name for name in after if name.startswith("parameters.") and name.endswith(MAGNITUDE)]
    assert len(names) == 3 * 7
    assert all(not torch.equal(before[name], after[name]) for name in names)


def test_with_lora_plus_magnitudes_learn_as_fast_as_b(base: ResidentBase) -> None:
    """PEFT's optimizer does the same. AdamW's first step has the size of the rate, for any gradient."""
    trainee = trainee_on(
        base, training=TrainingOptions(learning_rate=1e-3, loraplus_lr_ratio=16, warmup_ratio=0.0)
    )
    before = trainee.adapter.parameters.master.detach().clone()
    train(base, [trainee], 1)
    steps = trainee.adapter.parameters.named((trainee.adapter.parameters.master.detach() - before).abs())
    for name, step in steps.items():
        rate = 1e-3 if name.endswith("lora_A") else 16e-3
        assert step.median() == pytest.approx(rate, rel=0.01), name


def test_a_row_of_zeros_among_the_weights_does_no_harm(changeable_base: ResidentBase) -> None:
    base = changeable_base
    layer = base.model.get_submodule("model.layers.1.mlp.up_proj")
    with torch.no_grad():
        layer.weight[3] = 0  # type: ignore[operator,index]
    trainee = make_trainee(base, "job", make_spec(adapter=DORA), make_rows(12, 0))
    train(base, [trainee], 3)
    assert trainee.adapter.parameters.master.isfinite().all()
