"""DyLoRA trains every rank up to r in one training (Valipour et al. 2023, arXiv:2210.07558).

    y = x Wᵀ + s_b (x A[:b]ᵀ) B[:, :b]ᵀ        A [R, K], B [N, R], 1 ≤ b ≤ R drawn for each step

s_b is the scale of a LoRA of rank b: lora_alpha / b, or lora_alpha / sqrt(b) if it is rank-stabilised. So the
first b ranks are a LoRA of their own, with the same lora_alpha. The kernels compute with all R ranks at the
scale s_R: the A and B of the other ranks are 0 for the step, and B is multiplied by s_b / s_R.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from core.methods.low_rank import LoraAdapter
from worker.engine.parameters.factoring import Factoring, is_lora_a
from worker.engine.parameters.flat import Extent

STREAM = 2210_07558  # makes the draws differ from all other random numbers of the job's seed


class DynamicRank:
    """The number of ranks that one adapter computes with: all, except within a step or `truncated`."""

    def __init__(self, adapter: LoraAdapter, seed: int) -> None:
        self._all = self._rank = adapter.r
        self._power = 0.5 if adapter.use_rslora else 1.0
        self._seed = seed

    @property
    def rank(self) -> int:
        return self._rank

    def draw(self, step: int) -> int:
        """Draw the rank of the step that follows the first `step` steps, and compute with it from here on.

        The rank depends on seed and step alone.
        """
        random = np.random.default_rng([self._seed, step, STREAM])
        self._rank = int(random.integers(1, self._all, endpoint=True))
        return self._rank

    def use_all_ranks(self) -> None:
        self._rank = self._all

    @contextmanager
    def truncated(self, rank: int) -> Iterator[None]:
        """Compute with the first `rank` ranks inside."""
        self._rank = rank
        try:
            yield
        finally:
            self.use_all_ranks()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Compute with all ranks inside, and then with as many as before."""
        drawn = self._rank
        self.use_all_ranks()
        try:
            yield
        finally:
            self._rank = drawn

    def factoring(self, extents: Mapping[str, Extent]) -> Factoring:
        """Return the map to the factors of the present rank; the other ranks get no gradient."""
        return Factoring(extents, lambda master: self._factors(extents, master))

    def _factors(self, extents: Mapping[str, Extent], master: Tensor) -> Tensor:
        if self._rank == self._all:
            return master.clone()
        scale_of_a_R = (torch.arange(self._all, device=master.device) < self._rank).to(master.dtype)
        scale_of_b_R = scale_of_a_R * (self._all / self._rank) ** self._power
        factors = (
            extent.of(master) * (scale_of_a_R[:, None] if is_lora_a(name) else scale_of_b_R)
            for name, extent in extents.items()
        )
        return torch.cat([factor.flatten() for factor in factors])


def measured_ranks(r: int) -> list[int]:
    """Return the ranks whose validation loss is reported: the powers of two below r, and r."""
    return [2**power for power in range(r.bit_length()) if 2**power < r] + [r]
