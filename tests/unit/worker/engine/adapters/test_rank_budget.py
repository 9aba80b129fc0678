"""AdaLoRA's ranks fall as they fall in PEFT."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import JobError
from core.jobs.spec import Hyperparameters, TrainingOptions
from core.methods.low_rank import AdaLoraAdapter
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import (
    MAX_TOKENS,
    evaluate,
    make_spec,
    make_trainee,
    peft_loss,
    peft_parameters,
    peft_twin,
)
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import StepResult, Trainee

pytestmark = pytest.mark.slow

TWENTY_STEPS = Hyperparameters(n_epochs=10, batch_size=4, learning_rate_multiplier=1.0)  # with eight rows
RATE = TrainingOptions(learning_rate=1e-2, lr_scheduler_type="constant", warmup_ratio=0.0, weight_decay=0.01)


def adalora(**changes: Any) -> AdaLoraAdapter:
    return AdaLoraAdapter(init_r=5, target_r=2, lora_alpha=8, **changes)


def trainee_of(base: ResidentBase, adapter: AdaLoraAdapter) -> Trainee:
    spec = make_spec(adapter=adapter, hyperparameters=TWENTY_STEPS, training=RATE)
    return make_trainee(base, "job", spec, make_rows(8, 0))


def step(base: ResidentBase, trainee: Trainee) -> StepResult:
    (result,) = train_round(PassContext(base, MAX_TOKENS), [trainee]).values()
    assert isinstance(result, StepResult), result
    return result


def nonzero(trainee: Trainee) -> int:
    parts = trainee.adapter.parameters.named(trainee.adapter.parameters.master.detach())
    return sum(int(part.count_nonzero()) for name, part in parts.items() if name.endswith("lora_E"))


@pytest.mark.parametrize(
    "adapter",
    [adalora(), adalora(tinit=3, tfinal=5, deltaT=4, beta1=0.6, beta2=0.7, orth_reg_weight=0.1)],
    ids=["defaults", "in three phases"],
)
def test_twenty_steps_are_those_of_peft(
    base: ResidentBase, tiny_folder: Path, adapter: AdaLoraAdapter
) -> None:
    trainee = trainee_of(base, adapter)
    twin = peft_twin(tiny_folder, trainee)
    theirs = peft_parameters(twin, trainee)
    optimizer = torch.optim.AdamW(theirs.values(), lr=1e-2, weight_decay=0.01)
    for number in range(1, 21):
        loss = peft_loss(twin, trainee.next_rows)
        result = step(base, trainee)
        assert result.loss == pytest.approx(loss.item(), rel=1e-3)
        (loss + adapter.orth_reg_weight * orthogonality(theirs)).backward()
        torch.nn.utils.clip_grad_norm_(theirs.values(), 1.0)
        optimizer.step()
        twin.base_model.update_and_allocate(number)
        optimizer.zero_grad()
        assert result.rank_budget == twin.base_model.rankallocator.budget_schedule(number)[0]
        ours = trainee.adapter.parameters.named(trainee.adapter.parameters.master.detach())
        for name, parameter in theirs.items():
            assert torch.allclose(ours[name], parameter, atol=2e-4), (number, name)
            if name.endswith("lora_E"):
                assert torch.equal(ours[name] == 0, parameter == 0), (number, name)
    assert nonzero(trainee) == 2 * 21


def orthogonality(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the term that PEFT's AdaLoraModel adds to the loss that the model itself computes."""
    terms = []
    for name, parameter in parameters.items():
        if not name.endswith("lora_E"):
            product = parameter @ parameter.T if name.endswith("lora_A") else parameter.T @ parameter
            terms.append(torch.norm(product - torch.eye(len(product))))
    return torch.stack(terms).mean()


def test_a_saved_adapter_has_the_ranks_that_are_left(base: ResidentBase, tmp_path: Path) -> None:
    trainee = trainee_of(base, adalora())
    for _ in range(12):
        step(base, trainee)
    trainee.adapter.save(tmp_path / "on the way")
    while not trainee.finished:
        result = step(base, trainee)
    trainee.adapter.save(tmp_path / "end")
    assert result.rank_budget == 2 * 21
    for place, ranks in (("on the way", None), ("end", result.rank_budget)):
        config = json.loads((tmp_path / place / "adapter_config.json").read_text())
        pattern = config["rank_pattern"]
        assert set(pattern) == {
            f"{name}.lora_E" for group in base.decoder.groups.values() for name in group.columns
        }
        assert ranks is None or sum(map(sum, pattern.values())) == ranks
        assert config["total_step"] == 20


def test_a_budget_that_stays_leaves_every_rank(base: ResidentBase) -> None:
    trainee = trainee_of(base, AdaLoraAdapter(init_r=4, target_r=4, lora_alpha=8))
    while not trainee.finished:
        assert step(base, trainee).rank_budget == 4 * 21
    assert nonzero(trainee) == 4 * 21


def test_an_adapter_that_is_saved_before_its_first_update_keeps_its_ranks(
    base: ResidentBase, tmp_path: Path
) -> None:
    trainee = trainee_of(base, adalora())
    before = evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, trainee.rows).loss
    trainee.adapter.save(tmp_path)
    assert before > 0
    assert json.loads((tmp_path / "adapter_config.json").read_text())["rank_pattern"] is None


def test_a_schedule_that_leaves_no_step_for_ranks_to_fall_is_refused(base: ResidentBase) -> None:
    with pytest.raises(JobError, match="20 steps") as refused:
        trainee_of(base, adalora(tinit=12, tfinal=8))
    assert refused.value.param == "adapter.tinit"
