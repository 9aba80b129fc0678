"""LoRA's dropout: masks that follow from the job, its step and the row alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from core.jobs.spec import Hyperparameters
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter
from core.objectives.dpo import Dpo
from core.objectives.kto import Kto
from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE, TINY
from tests.fixtures.engine.objectives import assert_a_round_gives, by_the_paper, rows_of
from tests.fixtures.engine.rows import make_rows, shared_rows
from tests.fixtures.engine.training import (
    MAX_TOKENS,
    assert_a_step_is_peft_s,
    evaluate,
    make_spec,
    make_trainee,
    randomize,
    train,
)
from tests.fixtures.models.tiny import save_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.dropout import keep_mask, salt_of, step_seed, token_seeds
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.lanes import Lanes
from worker.engine.step import passes
from worker.engine.step.context import PassContext
from worker.engine.step.loop import validate
from worker.engine.step.trainee import Trainee

pytestmark = pytest.mark.slow

P = 0.3
DROPPING = LoraAdapter(r=4, lora_alpha=8, lora_dropout=P)
EIGHT = Hyperparameters(n_epochs=2, batch_size=8, learning_rate_multiplier=1.0)


class OurDropout(nn.Module):
    """In the place of PEFT's, with the engine's masks for the row that the model is called with."""

    def __init__(self, module: str, rows: list[Tensor]) -> None:
        super().__init__()
        self._salt, self._rows = salt_of(module), rows

    def forward(self, x: Tensor) -> Tensor:
        mask = keep_mask(self._rows[-1], self._salt, x.shape[-1], P)
        return x * mask.view(x.shape) / (1 - P)


def with_our_masks(model: Any, seed: int) -> Any:
    """PEFT's model, which drops what the engine drops in a step."""
    rows: list[Tensor] = []

    def note(_model: nn.Module, _args: Any, inputs: dict[str, Tensor]) -> None:
        rows.append(torch.from_numpy(token_seeds(inputs["input_ids"][0].numpy().astype(np.int32), seed)))

    model.register_forward_pre_hook(note, with_kwargs=True)
    for name, module in model.get_base_model().named_modules():
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"] = OurDropout(name, rows)
    model.set_adapter("default")
    return model


def seed_of(trainee: Trainee) -> int:
    seed = trainee.dropout_seed_after(trainee.step)
    assert seed is not None
    return seed


BASES = {
    "llama": FAST["llama"],
    "qwen 2, biases": FAST["qwen 2, biases"],
    "granite, portable": PORTABLE["granite, scaled logits"],
    "lfm 2, convolutions": PORTABLE["lfm 2, short convolutions"],
    "phi 3, row by row": PLAIN["phi 3, a rotation by the longest row"],
}
ADAPTERS = {
    "lora": DROPPING,
    "patterns": LoraAdapter(
        r=4, lora_alpha=8, lora_dropout=P, use_rslora=True, rank_pattern={"q_proj": 7, "down_proj": 2}
    ),
    "adalora": AdaLoraAdapter(init_r=6, target_r=2, lora_alpha=8, lora_dropout=P),
}


@pytest.mark.family(6)
@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
@pytest.mark.parametrize("make", BASES.values(), ids=BASES)
@pytest.mark.parametrize("rows", [make_rows(12, 0), shared_rows()], ids=["unlike", "with shared prefixes"])
def test_loss_and_gradient_are_those_of_peft_with_the_same_masks(
    make: Callable[[], PretrainedConfig], adapter: LowRankAdapter, rows: Any, tmp_path: Path
) -> None:
    save_model(make(), tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, torch.device("cpu"))
    trainee = make_trainee(base, "job", make_spec(hyperparameters=EIGHT, adapter=adapter), rows)
    randomize(trainee.adapter)
    plain, masked = (
        AutoModelForCausalLM.from_pretrained(tmp_path),
        partial(with_our_masks, seed=seed_of(trainee)),
    )
    assert_a_step_is_peft_s(base, trainee, plain, tmp_path / "adapter", masked)


@pytest.mark.parametrize("objective", [Dpo(), Kto()], ids=lambda objective: objective.type)
def test_an_objective_judges_by_the_masks_that_it_learns_with(base: ResidentBase, objective: Any) -> None:
    """The reference drops nothing."""
    spec = make_spec(hyperparameters=EIGHT, objective=objective, adapter=DROPPING)
    trainee = make_trainee(base, "job", spec, rows_of(spec, 12))
    randomize(trainee.adapter)
    model = with_our_masks(trainee.adapter.plain_model, seed_of(trainee))
    expected, metrics = by_the_paper(objective, model, trainee.next_rows)
    result = assert_a_round_gives(base, trainee, expected)
    assert {name: result.metrics[name] for name in metrics} == pytest.approx(metrics, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("objective", [None, Dpo()], ids=["cross-entropy", "dpo"])
def test_an_evaluation_drops_nothing(base: ResidentBase, objective: Any) -> None:
    losses = []
    for adapter in (DROPPING, DROPPING.model_copy(update={"lora_dropout": 0.0})):
        spec = make_spec(adapter=adapter, **({"objective": objective} if objective else {}))
        trainee = make_trainee(base, "job", spec, rows_of(spec, 4) if objective else make_rows(4, 0))
        randomize(trainee.adapter)
        losses.append(validate(PassContext(base, MAX_TOKENS), trainee, trainee.rows).loss)
        losses.append(evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, trainee.rows).loss)
    assert losses[:2] == losses[2:]


def test_a_job_without_dropout_carries_nothing_for_masks(base: ResidentBase) -> None:
    dropping, other = (
        make_trainee(base, name, make_spec(adapter=adapter), make_rows(12, 0))
        for name, adapter in (("dropping", DROPPING), ("other", LoraAdapter(r=4)))
    )
    assert other.dropout_seed_after(0) is None
    jobs = [
        JobRows(each.adapter.name, each.next_rows, 1.0, dropout_seed=each.dropout_seed_after(0), apart=True)
        for each in (other, dropping)
    ]
    (batches,) = passes.micro_batches(PassContext(base, 10_000), jobs, join=True)
    assert [batch.dropout_seeds_T is not None for batch in batches] == [False, True]
    for batch in batches:
        (part,) = Lanes(1).parts_of([batch], join=True)
        assert (part.dropout_seeds_T is None) == (batch.dropout_seeds_T is None)


def test_each_step_drops_something_else(base: ResidentBase) -> None:
    trainee = make_trainee(base, "job", make_spec(adapter=DROPPING), make_rows(12, 0))
    other = make_trainee(base, "other", make_spec(adapter=DROPPING, seed=4), make_rows(12, 0))
    seeds = [trainee.dropout_seed_after(0), other.dropout_seed_after(0)]
    train(base, [trainee], 1)
    seeds.append(trainee.dropout_seed_after(trainee.step))
    assert len(set(seeds)) == 3


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_so_many_inputs_are_dropped_as_were_asked_for(p: float) -> None:
    seeds_T = torch.from_numpy(token_seeds(np.zeros(2000, dtype=np.int32), step_seed(1, 0)))
    mask = keep_mask(seeds_T, salt_of("layer"), 301, p).float()
    deviation = (p * (1 - p)) ** 0.5
    assert abs(mask.mean() - (1 - p)) < 4 * deviation / mask.numel() ** 0.5
    for axis, count in ((0, 2000), (1, 301)):
        means = mask.mean(axis)
        assert abs(means.std() - deviation / count**0.5) < 0.2 * deviation / count**0.5


def test_masks_of_layers_tokens_and_steps_have_nothing_to_do_with_each_other() -> None:
    tokens_L = np.arange(500, dtype=np.int32) % 7
    first, second = (torch.from_numpy(token_seeds(tokens_L, step_seed(1, step))) for step in (0, 1))
    masks = [
        keep_mask(first, salt_of("a"), 64, 0.5),
        keep_mask(first, salt_of("b"), 64, 0.5),
        keep_mask(second, salt_of("a"), 64, 0.5),
        keep_mask(first, salt_of("a"), 64, 0.5).roll(1, 0),
        keep_mask(first, salt_of("a"), 64, 0.5).roll(1, 1),
        keep_mask(first, salt_of("a"), 64, 0.5).roll(2, 1),
    ]
    correlations = torch.corrcoef(torch.stack([mask.flatten().float() for mask in masks])) - torch.eye(6)
    assert correlations.abs().max() < 5 / (500 * 64) ** 0.5


def test_masks_are_the_same_on_every_machine() -> None:
    """Others would change a job that goes on after an upgrade."""
    seeds_L = token_seeds(np.array([5, 5, 7], dtype=np.int32), step_seed(3, 2))
    assert seeds_L.tolist() == [-420253803, -58240921, -598906979]
    mask = keep_mask(torch.from_numpy(seeds_L), salt_of("model.layers.0.mlp.up_proj"), 12, 0.4)
    rows = ["".join("1" if each else "0" for each in row) for row in mask.tolist()]
    assert rows == ["101101110000", "011101001111", "111110010010"]
