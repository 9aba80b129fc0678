"""DyLoRA: every rank up to r out of one training (Valipour et al. 2023, arXiv:2210.07558).

    y = x Wᵀ + s_b (x A[:b]ᵀ) B[:, :b]ᵀ        A [R, K], B [N, R], 1 ≤ b ≤ R drawn for each step

s_b is what a LoRA of rank b has: lora_alpha / b, or lora_alpha / sqrt(b) where it is rank-stabilised. So the
first b ranks are a LoRA of their own with the same lora_alpha. The kernels compute with all R ranks at the
scale of R: the others' A and B are 0 for the step, and B is multiplied by s_b / s_R.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from core.methods.low_rank import LoraAdapter
from worker.engine.parameters.factoring import Factoring, is_a
from worker.engine.parameters.flat import Place

STREAM = 2210_07558  # so that the draws are no other random numbers of the job's seed


class DynamicRank:
    """Of one adapter: how many of its ranks are computed with, all but within a step or `truncated`."""

    def __init__(self, adapter: LoraAdapter, seed: int) -> None:
        self._all = self._rank = adapter.r
        self._power = 0.5 if adapter.use_rslora else 1.0
        self._seed = seed

    @property
    def rank(self) -> int:
        return self._rank

    def draw(self, step: int) -> int:
        """Compute with the rank of the step that follows so many: it depends on seed and step alone."""
        random = np.random.default_rng([self._seed, step, STREAM])
        self._rank = int(random.integers(1, self._all, endpoint=True))
        return self._rank

    def take_all(self) -> None:
        self._rank = self._all

    @contextmanager
    def truncated(self, rank: int) -> Iterator[None]:
        """Compute with the first `rank` ranks inside."""
        self._rank = rank
        try:
            yield
        finally:
            self.take_all()

    def factoring(self, places: Mapping[str, Place]) -> Factoring:
        """The factors by the present rank; what is beyond gets no gradient."""
        return Factoring(places, lambda master: self._factors(places, master))

    def _factors(self, places: Mapping[str, Place], master: Tensor) -> Tensor:
        if self._rank == self._all:
            return master.clone()
        of_a_R = (torch.arange(self._all, device=master.device) < self._rank).to(master.dtype)
        of_b_R = of_a_R * (self._all / self._rank) ** self._power
        factors = (
            place.of(master) * (of_a_R[:, None] if is_a(name) else of_b_R) for name, place in places.items()
        )
        return torch.cat([factor.flatten() for factor in factors])


def measured_ranks(r: int) -> list[int]:
    """The ranks whose validation loss is told: the powers of two below r, and r."""
    return [2**power for power in range(r.bit_length()) if 2**power < r] + [r]
