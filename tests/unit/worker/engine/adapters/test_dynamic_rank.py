"""DyLoRA: a step trains as many ranks as it has drawn, as a LoRA of this rank would."""

from typing import Any

import pytest
import torch

from core.jobs.spec import Hyperparameters, TrainingOptions
from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import MAX_TOKENS, evaluate, make_spec, make_trainee, peft_loss, peft_twin
from worker.engine.adapters.dynamic_rank import measured_ranks
from worker.engine.adapters.saving import PEFT_NAME
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import StepResult, Trainee

pytestmark = pytest.mark.slow

R = 6
RATE = TrainingOptions(learning_rate=1e-2, lr_scheduler_type="constant", warmup_ratio=0.0)
STEPS = Hyperparameters(n_epochs=10, batch_size=4, learning_rate_multiplier=1.0)


def trainee_of(base: ResidentBase, name: str = "job", **options: Any) -> Trainee:
    adapter = LoraAdapter(r=R, lora_alpha=8, dynamic_rank=True, **options)
    spec = make_spec(adapter=adapter, hyperparameters=STEPS, training=RATE)
    return make_trainee(base, name, spec, make_rows(8, 0))


def step(base: ResidentBase, *trainees: Trainee) -> list[StepResult]:
    results = list(train_round(PassContext(base, MAX_TOKENS), trainees).values())
    assert all(isinstance(result, StepResult) for result in results), results
    return [result for result in results if isinstance(result, StepResult)]


def drawn(base: ResidentBase, trainee: Trainee, steps: int) -> list[float]:
    return [step(base, trainee)[0].metrics["adapter_rank"] for _ in range(steps)]


def cut(twin: Any, rank: int, scale: float) -> None:
    """Cut PEFT's LoRA to its first `rank` ranks, at `scale`."""
    for module in twin.modules():
        if hasattr(module, "lora_A"):
            module.lora_A[PEFT_NAME].weight.data[rank:] = 0
            module.lora_B[PEFT_NAME].weight.data[:, rank:] = 0
            module.scaling[PEFT_NAME] = scale


@pytest.mark.parametrize(("use_rslora", "power"), [(False, 1.0), (True, 0.5)])
def test_a_step_s_loss_and_gradient_are_those_of_a_lora_of_the_rank_drawn(
    base: ResidentBase, tiny_folder: Any, use_rslora: bool, power: float
) -> None:
    trainee = trainee_of(base, use_rslora=use_rslora)
    for _ in range(8):
        before = trainee.adapter.parameters.master.detach().clone()
        twin = peft_twin(tiny_folder, trainee)
        rows = trainee.next_rows
        (result,) = step(base, trainee)
        rank = int(result.metrics["adapter_rank"])
        cut(twin, rank, 8 / rank**power)
        assert result.loss == pytest.approx(peft_loss(twin, rows).item(), rel=1e-4)
        assert not torch.equal(before, trainee.adapter.parameters.master)


def test_ranks_beyond_the_one_drawn_get_no_gradient(base: ResidentBase) -> None:
    trainee = trainee_of(base)
    (result,) = step(base, trainee)
    rank = int(result.metrics["adapter_rank"])
    assert rank < R, "otherwise this test proves nothing"
    state = trainee.state()
    for name in trainee.adapter.parameters.extents:
        moment = state[f"exp_avg.{name}"]
        if name.endswith("lora_B"):
            assert moment[:, :rank].any()
            assert not moment[:, rank:].any(), name
        else:
            assert not moment[rank:].any(), name


def test_the_draws_follow_from_seed_and_step_whoever_is_beside_and_wherever_the_job_goes_on(
    base: ResidentBase,
) -> None:
    alone = trainee_of(base, "alone")
    expected = drawn(base, alone, 6)
    resumed = trainee_of(base, "resumed")
    resumed.restore(alone.step, alone.state())
    expected += drawn(base, alone, 6)
    assert drawn(base, resumed, 6) == expected[6:]
    assert torch.equal(resumed.adapter.parameters.master, alone.adapter.parameters.master)
    assert set(expected) <= set(range(1, R + 1))
    assert len(set(expected)) > 3

    first, second = trainee_of(base, "first"), trainee_of(base, "second")
    step(base, second)
    together = [step(base, first, second) for _ in range(6)]
    assert [of_first.metrics["adapter_rank"] for of_first, _ in together] == expected[:6]
    assert [of_second.metrics["adapter_rank"] for _, of_second in together] == expected[1:7]


def test_between_steps_all_ranks_count_unless_it_is_cut(base: ResidentBase, tiny_folder: Any) -> None:
    trainee = trainee_of(base)
    drawn(base, trainee, 4)
    for rank in range(1, R + 1):
        twin = peft_twin(tiny_folder, trainee)
        cut(twin, rank, 8 / rank)
        with trainee.at_rank(rank):
            loss = evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, trainee.rows).loss
        assert loss == pytest.approx(peft_loss(twin, trainee.rows).item(), rel=1e-4)
    whole = evaluate(PassContext(base, MAX_TOKENS), trainee.adapter, trainee.rows).loss
    assert whole == pytest.approx(peft_loss(peft_twin(tiny_folder, trainee), trainee.rows).item(), rel=1e-4)


def test_an_abandoned_round_leaves_all_ranks(base: ResidentBase) -> None:
    trainee, twin = trainee_of(base), trainee_of(base, "twin")
    assert train_round(PassContext(base, MAX_TOKENS, abandon=lambda: True), [trainee]) == {}
    assert trainee.adapter.dynamic_rank is not None
    assert trainee.adapter.dynamic_rank.rank == R
    drawn(base, trainee, 2)
    drawn(base, twin, 2)
    assert torch.equal(trainee.adapter.parameters.master, twin.adapter.parameters.master)


def test_the_ranks_measured_are_the_powers_of_two_and_the_whole() -> None:
    assert [measured_ranks(r) for r in (1, 2, 6, 16)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16]]
