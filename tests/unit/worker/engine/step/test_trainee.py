"""A job's extent in its schedule and in its data, apart from the model."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from transformers import TrainingArguments, get_scheduler

from core.jobs.spec import Hyperparameters, JobSpec, TrainingOptions
from core.storage.file_names import DamagedFile
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec
from tests.fixtures.engine.training import make_trainee as make_engine_trainee
from worker.engine.base.base_model import ResidentBase
from worker.engine.parameters.flat import Extent, FlatParameters
from worker.engine.step.trainee import Trainee


def make_trainee(device: str = "cpu", **training: Any) -> Trainee:
    """Of ten steps, on an adapter of two parameters."""
    spec = JobSpec(
        base_model="tiny",
        seed=1,
        hyperparameters=Hyperparameters(n_epochs=2, batch_size=4, learning_rate_multiplier=1.0),
        training=TrainingOptions(learning_rate=0.5, **training),
    )
    parameters = FlatParameters(
        torch.ones(2, device=device),
        torch.float32,
        extents={"q.lora_A": Extent(0, (1, 1)), "q.lora_B": Extent(1, (1, 1))},
    )
    adapter = SimpleNamespace(parameters=parameters, rank_budget=None, dynamic_rank=None)
    return Trainee(cast(Any, adapter), spec, make_rows(20, 0))


def learning_rates(trainee: Trainee) -> list[float]:
    return [
        trainee.take_step(trainee.next_rows, 1.0, 1.0, 0.0).learning_rate for _ in range(trainee.total_steps)
    ]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_every_schedule_warms_up(schedule: str) -> None:
    rates = learning_rates(make_trainee(lr_scheduler_type=schedule, warmup_ratio=0.4))
    assert rates[:5] == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.25, 0.31])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_schedule_is_that_of_transformers_trainer(schedule: str, ratio: float, tmp_path: Path) -> None:
    trainee = make_trainee(lr_scheduler_type=schedule, warmup_ratio=ratio)
    kind = "constant_with_warmup" if schedule == "constant" else schedule
    arguments = TrainingArguments(str(tmp_path), warmup_steps=ratio, lr_scheduler_type=kind)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    steps = trainee.total_steps
    expected = get_scheduler(kind, optimizer, arguments.get_warmup_steps(steps), steps)
    rates = []
    for _ in range(steps):
        rates += expected.get_last_lr()
        optimizer.step()
        expected.step()
    assert learning_rates(trainee) == pytest.approx(rates)


def test_a_constant_schedule_stays_at_its_peak() -> None:
    assert learning_rates(make_trainee(lr_scheduler_type="constant", warmup_ratio=0.0)) == [0.5] * 10


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))],
)
def test_a_restored_member_steps_on(device: str) -> None:
    first, second = make_trainee(device), make_trainee(device)
    first.take_step(first.next_rows, 1.0, 1.0, 0.0)
    second.restore(first.step, first.state())
    for trainee in (first, second):
        trainee.adapter.parameters.gradient.fill_(0.1)
        trainee.take_step(trainee.next_rows, 1.0, 1.0, 0.0)
    assert torch.equal(first.adapter.parameters.master, second.adapter.parameters.master)


def test_a_finished_member_keeps_no_moments_and_can_be_restored_or_take_up_an_earlier_state() -> None:
    """Nothing steps on from there, so that two thirds of a last checkpoint would be for nobody."""
    finished, resumed = make_trainee(), make_trainee()
    best = {}
    while not finished.finished:
        finished.adapter.parameters.gradient.fill_(0.1)
        finished.take_step(finished.next_rows, 1.0, 1.0, 0.0)
        if finished.step == 3:
            best = {name: part.clone() for name, part in finished.state().items()}
    assert {name.split(".")[0] for name in best} == {"parameters", "exp_avg", "exp_avg_sq"}
    assert {name.split(".")[0] for name in finished.state()} == {"parameters"}
    resumed.restore(finished.step, finished.state())
    assert resumed.finished
    assert torch.equal(resumed.adapter.parameters.master, finished.adapter.parameters.master)
    finished.take_state(best)
    expected = torch.cat([best["parameters.q.lora_A"].flatten(), best["parameters.q.lora_B"].flatten()])
    assert torch.equal(finished.adapter.parameters.master, expected)


def test_one_that_stopped_early_makes_no_further_step_after_a_resume() -> None:
    stopped, resumed = make_trainee(), make_trainee()
    stopped.take_step(stopped.next_rows, 1.0, 1.0, 0.0)
    stopped.stop()
    resumed.restore(stopped.step, stopped.state())
    assert resumed.finished
    assert resumed.last_step == 1 < resumed.total_steps


def test_a_state_that_lacks_some_moments_is_refused() -> None:
    trainee = make_trainee()
    state = dict(trainee.state())
    del state["exp_avg_sq.q.lora_A"]
    with pytest.raises(DamagedFile, match=r"exp_avg_sq\.q\.lora_A"):
        trainee.restore(1, state)


@pytest.mark.parametrize("name", ["parameters.q.lora_A", "exp_avg.q.lora_B"])
def test_a_state_of_other_shapes_is_refused_and_nothing_of_it_is_taken(name: str) -> None:
    trainee = make_trainee()
    state = {each: torch.full_like(part, 7) for each, part in trainee.state().items()}
    with pytest.raises(DamagedFile, match=name):
        trainee.restore(1, {**state, name: torch.zeros(1)})  # which would be broadcast
    assert torch.equal(trainee.adapter.parameters.master, torch.ones(2))
    assert trainee.step == 0


def test_a_lora_plus_job_learns_as_with_pefts_optimizer(base: ResidentBase) -> None:
    """PEFT's `create_loraplus_optimizer` on a copy of PEFT's modules, with the same gradients."""
    spec = make_spec(training=TrainingOptions(learning_rate=1e-2, weight_decay=0.1, loraplus_lr_ratio=16.0))
    trainee = make_engine_trainee(base, "job", spec, make_rows(12, 0))
    parameters = trainee.adapter.parameters
    model = copy.deepcopy(trainee.adapter.plain_model)
    expected = {
        name: getattr(model.get_base_model().get_submodule(name[:-7]), name[-6:])["default"].weight
        for name in parameters.extents
    }
    decay = {"weight_decay": 0.1, "loraplus_weight_decay": 0.1}
    optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1.0, loraplus_lr_ratio=16.0, **decay)
    ratios = [group["lr"] for group in optimizer.param_groups]
    for seed in range(3):
        gradient = 1e-3 * torch.randn(
            len(parameters.master), generator=torch.Generator().manual_seed(seed)
        )  # below the norm that is clipped
        parameters.gradient.copy_(gradient)
        for name, part in parameters.named(gradient).items():
            expected[name].grad = part
        rate = trainee.take_step(trainee.next_rows, 1.0, 1.0, 0.0).learning_rate
        for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
            group["lr"] = rate * ratio
        optimizer.step()
    for name, part in parameters.named(parameters.master.detach()).items():
        assert torch.allclose(part, expected[name], rtol=1e-5, atol=1e-7), name
