"""AdamW over an adapter's flat parameters, with a learning rate that depends on the step alone."""

from collections.abc import Iterator
from itertools import groupby
from math import ceil
from typing import Any

import torch
from torch import Tensor
from transformers import get_scheduler

from core.jobs.spec import JobSpec, TrainingOptions
from worker.engine.parameters.flat import FlatParameters
from worker.engine.step.moments import EightBitMoments, Moments

BETAS = (0.9, 0.999)
EPS = 1e-8
SCHEDULES = {"constant": "constant_with_warmup"}  # transformers' `constant` would ignore `warmup_ratio`
PIECE = 2**20  # values that an 8-bit update on the CPU holds in fp32 at once


def warmup_steps(training: TrainingOptions, total_steps: int) -> int:
    """Return the steps of the warmup, rounded up as in transformers."""
    return ceil(training.warmup_ratio * total_steps)


class Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with a schedule.

    `loraplus_lr_ratio` is the ratio of B's learning rate to A's (LoRA+: Hayou et al. 2024, arXiv:2402.12354).
    """

    def __init__(
        self, parameters: FlatParameters, spec: JobSpec, total_steps: int, counts_updates: bool = False
    ) -> None:
        """With `counts_updates`, some steps may make no update, and the state holds the number of updates."""
        self._peak = spec.peak_learning_rate
        self._updates = torch.zeros((), dtype=torch.int64) if counts_updates else None
        self._extents = parameters.extents
        in_eight_bits = spec.training.has_eight_bit_moments
        values = parameters.master.detach()
        self._moments = EightBitMoments(values) if in_eight_bits else Moments(values)
        spans = list(_spans(parameters, spec.training.loraplus_lr_ratio or 1.0))
        if in_eight_bits:
            spans = [(piece, ratio, decays) for span, ratio, decays in spans for piece in _pieces(span)]
        self._ratios = [ratio for _, ratio, _ in spans]
        groups = [
            {
                "params": [_leaf(parameters, span)],
                "weight_decay": spec.training.weight_decay if decays else 0.0,
            }
            for span, _, decays in spans
        ]
        self._adamw = (_blockwise if in_eight_bits else _fused)(groups, self._peak)
        states = self._moments.states([span for span, *_ in spans])
        for group, state in zip(self._adamw.param_groups, states, strict=True):
            self._adamw.state[group["params"][0]] = state
        schedule = get_scheduler(
            SCHEDULES.get(spec.training.lr_scheduler_type, spec.training.lr_scheduler_type),
            self._adamw,
            num_warmup_steps=warmup_steps(spec.training, total_steps),
            num_training_steps=total_steps,
        )
        self._rate_at = schedule.lr_lambdas[0]  # depends on the step alone, so checkpoints need not save it

    def step(self, number: int) -> float:
        """Make the update after `number` steps with the gathered gradient. Return the learning rate of A."""
        rate = self.rate_after(number)
        for group, ratio in zip(self._adamw.param_groups, self._ratios, strict=True):
            group["lr"] = rate * ratio
        self._adamw.step()
        if self._updates is not None:
            self._updates += 1
        return rate

    def rate_after(self, number: int) -> float:
        """Return the learning rate of A after `number` steps."""
        rate: float = self._peak * self._rate_at(number)
        return rate

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a resume needs, by name. The next step changes them."""
        saved = self._moments.saved(self._extents)
        return saved if self._updates is None else {**saved, "updates": self._updates}

    def resume_after(self, step: int) -> None:
        """Continue after `step`, with the present values of the state."""
        updates = step if self._updates is None else int(self._updates)
        for state in self._adamw.state.values():
            state["step"].fill_(updates)


def _fused(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS, eps=EPS, fused=True)


def _blockwise(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    from worker.engine.step.blockwise_adamw import BlockwiseAdamW  # imports bitsandbytes

    return BlockwiseAdamW(groups, lr=lr, betas=BETAS, eps=EPS)


def _pieces(span: slice) -> Iterator[slice]:
    for start in range(span.start, span.stop, PIECE):
        yield slice(start, min(start + PIECE, span.stop))


def _spans(parameters: FlatParameters, ratio_of_b: float) -> Iterator[tuple[slice, float, bool]]:
    """Yield the spans of the flat tensor that one update treats alike.

    With each comes the ratio of its learning rate to A's rate, and whether it decays. Vectors, such as DoRA's
    magnitudes, have the rate of B, as in PEFT.
    """
    treated = (
        (
            extent,
            ratio_of_b if "lora_B" in name or len(extent.shape) == 1 else 1.0,
            name not in parameters.undecayed,
        )
        for name, extent in parameters.extents.items()
    )
    for (ratio, decays), extents in groupby(treated, key=lambda each: each[1:]):
        own = [extent for extent, *_ in extents]
        yield slice(own[0].start, own[-1].stop), ratio, decays


def _leaf(parameters: FlatParameters, span: slice) -> Tensor:
    """Return a view of a span of the master, with the same span of its gradient."""
    leaf = parameters.master.detach()[span].requires_grad_()
    leaf.grad = parameters.gradient[span]
    return leaf
