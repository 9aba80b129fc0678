"""AdamW over an adapter's flat parameters, with a learning rate that depends on the step alone."""

from collections.abc import Iterator
from itertools import groupby
from math import ceil

import torch
from torch import Tensor
from transformers import get_scheduler

from core.jobs.spec import JobSpec, TrainingOptions
from worker.engine.parameters.flat import FlatParameters

BETAS = (0.9, 0.999)
EPS = 1e-8
MOMENTS = ("exp_avg", "exp_avg_sq")
SCHEDULES = {"constant": "constant_with_warmup"}  # transformers' `constant` would ignore `warmup_ratio`


def warmup_steps(training: TrainingOptions, total_steps: int) -> int:
    """Return the steps of the warmup, rounded up as in transformers."""
    return ceil(training.warmup_ratio * total_steps)


class Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with a schedule.

    `loraplus_lr_ratio` is the ratio of B's learning rate to A's (LoRA+: Hayou et al. 2024, arXiv:2402.12354).
    """

    def __init__(self, parameters: FlatParameters, spec: JobSpec, total_steps: int) -> None:
        self._peak = spec.peak_learning_rate
        self._moments = {moment: torch.zeros_like(parameters.master.detach()) for moment in MOMENTS}
        runs = list(_runs(parameters, spec.training.loraplus_lr_ratio or 1.0))
        self._ratios = [ratio for _, ratio, _ in runs]
        self._adamw = torch.optim.AdamW(
            [
                {
                    "params": [_leaf(parameters, run)],
                    "weight_decay": spec.training.weight_decay if decays else 0.0,
                }
                for run, _, decays in runs
            ],
            lr=self._peak,
            betas=BETAS,
            eps=EPS,
            fused=True,
        )
        for group, (run, _, _) in zip(self._adamw.param_groups, runs, strict=True):
            self._adamw.state[group["params"][0]] = self._state(run)
        schedule = get_scheduler(
            SCHEDULES.get(spec.training.lr_scheduler_type, spec.training.lr_scheduler_type),
            self._adamw,
            num_warmup_steps=warmup_steps(spec.training, total_steps),
            num_training_steps=total_steps,
        )
        self._rate_at = schedule.lr_lambdas[0]  # depends on the step alone, so checkpoints need not save it

    def _state(self, run: slice) -> dict[str, Tensor]:
        moments = {moment: values[run] for moment, values in self._moments.items()}
        device = self._moments["exp_avg"].device  # a fused update needs its step count on the device
        return {"step": torch.zeros((), device=device), **moments}

    def step(self, number: int) -> float:
        """Make the update after `number` steps with the gathered gradient. Return the learning rate of A."""
        rate: float = self._peak * self._rate_at(number)
        for group, ratio in zip(self._adamw.param_groups, self._ratios, strict=True):
            group["lr"] = rate * ratio
        self._adamw.step()
        return rate

    def moments(self) -> dict[str, Tensor]:
        """Return AdamW's two moments, each as one flat tensor in the order of the parameters."""
        return self._moments

    def resume_after(self, step: int) -> None:
        """Continue after `step`, with the present values of the moments."""
        for state in self._adamw.state.values():
            state["step"].fill_(step)


def _runs(parameters: FlatParameters, ratio_of_b: float) -> Iterator[tuple[slice, float, bool]]:
    """Yield the runs of the flat tensor that one update treats alike.

    With each comes the ratio of its learning rate to A's rate, and whether it decays. Vectors, such as DoRA's
    magnitudes, have the rate of B, as in PEFT.
    """
    treated = (
        (
            place,
            ratio_of_b if "lora_B" in name or len(place.shape) == 1 else 1.0,
            name not in parameters.undecayed,
        )
        for name, place in parameters.places.items()
    )
    for (ratio, decays), places in groupby(treated, key=lambda each: each[1:]):
        run = [place for place, *_ in places]
        yield slice(run[0].start, run[-1].stop), ratio, decays


def _leaf(parameters: FlatParameters, run: slice) -> Tensor:
    """Return a view of a run of the master, with the same run of its gradient."""
    leaf = parameters.master.detach()[run].requires_grad_()
    leaf.grad = parameters.gradient[run]
    return leaf
