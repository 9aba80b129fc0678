"""AdamW with moments of 8 bits."""

from typing import Any

import pytest
import torch
from bitsandbytes.optim import AdamW8bit
from torch import Tensor

from core.estimates.adapters import StateBytes
from core.jobs.spec import Hyperparameters, TrainingOptions
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import IN_A_PIECE, make_spec, make_trainee, train
from worker.engine.base.base_model import ResidentBase
from worker.engine.step import optimizer
from worker.engine.step.moments import MOMENTS
from worker.engine.step.trainee import Trainee

EIGHT_BITS = {"optimizer": "adamw_8bit", "learning_rate": 1e-2, "warmup_ratio": 0.0}


def trainee_of(base: ResidentBase, **training: Any) -> Trainee:
    return make_trainee(base, "job", make_spec(training=TrainingOptions(**training)), make_rows(24, 0))


def gradients(values: int, steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [1e-3 * torch.randn(values, generator=generator) for _ in range(steps)]


def take(trainee: Trainee, gradient: Tensor) -> float:
    trainee.adapter.parameters.gradient.copy_(gradient)
    return trainee.take_step(trainee.next_rows, 1.0, 1.0, 0.0).learning_rate


@pytest.mark.parametrize("piece", [2**20, 1000])
def test_updates_are_those_of_bitsandbytes(
    base: ResidentBase, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the parameters are updated in pieces. There is one of theirs for each piece."""
    monkeypatch.setattr(optimizer, "PIECE", piece)
    trainee = trainee_of(base, **EIGHT_BITS, weight_decay=0.1)
    master = trainee.adapter.parameters.master.detach()
    expected = [part.clone().requires_grad_() for part in master.split(piece)]
    theirs = AdamW8bit(expected, lr=1.0, weight_decay=0.1, min_8bit_size=1)
    for gradient in gradients(len(master), steps=4):
        rate = take(trainee, gradient)
        for part, of_part in zip(expected, gradient.split(piece), strict=True):
            part.grad = of_part.clone()
        theirs.param_groups[0]["lr"] = rate
        theirs.step()
    assert torch.equal(master, torch.cat([part.detach() for part in expected]))


def test_a_job_learns_as_with_moments_in_fp32(base: ResidentBase) -> None:
    often = Hyperparameters(n_epochs=20, batch_size=4, learning_rate_multiplier=1.0)
    losses = {}
    for name in ("adamw", "adamw_8bit"):
        training = TrainingOptions.model_validate({"learning_rate": 1e-2, "optimizer": name})
        spec = make_spec(training=training, hyperparameters=often)
        trainee = make_trainee(base, "job", spec, make_rows(4, 0))
        losses[name] = train(base, [trainee], trainee.total_steps, IN_A_PIECE)["job"]
    first, last = losses["adamw"][0], losses["adamw"][-1]
    assert last < first - 0.3, "otherwise this test proves nothing"
    assert losses["adamw_8bit"] == pytest.approx(losses["adamw"], abs=0.05 * (first - last))
    assert losses["adamw_8bit"] != losses["adamw"]


def test_a_resumed_job_goes_on_to_the_bit(base: ResidentBase) -> None:
    whole = trainee_of(base, **EIGHT_BITS, loraplus_lr_ratio=4.0)
    before, after = gradients(len(whole.adapter.parameters.master), steps=2)
    take(whole, before)
    state = {name: part.clone() for name, part in whole.state().items()}
    take(whole, after)
    resumed = trainee_of(base, **EIGHT_BITS, loraplus_lr_ratio=4.0)
    resumed.restore(1, state)
    take(resumed, after)
    assert torch.equal(resumed.adapter.parameters.master, whole.adapter.parameters.master)
    assert all(torch.equal(part, whole.state()[name]) for name, part in resumed.state().items())


def test_the_moments_take_as_much_memory_as_was_computed_before(base: ResidentBase) -> None:
    trainee = trainee_of(base, **EIGHT_BITS)
    of_moments = [part for name, part in trainee.state().items() if name.startswith((*MOMENTS, "scales."))]
    in_fp32 = StateBytes(moments=2 * trainee.adapter.parameters.master.nbytes)
    held = sum(part.nbytes for part in of_moments)
    assert held == in_fp32.with_moments(in_eight_bits=True).moments < in_fp32.moments * 0.26
