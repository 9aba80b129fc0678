"""Resamples of rows, in blocks that stay small in memory.

Rows with equal numbers form one group, so that a resample of many rows with few different results is cheap.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.evals.statistics.statistic import Array

RESAMPLES = 1_000
SWAPS = 1_000
NUMBERS_IN_A_BLOCK = 2**17
SEED = 20


@dataclass(frozen=True)
class Groups:
    """The different rows, and which of them each row is."""

    rows_KC: Array
    group_N: NDArray[np.intp]

    @classmethod
    def of(cls, rows_NC: Array) -> "Groups":
        """Group equal rows."""
        rows_KC, group_N = np.unique(rows_NC, axis=0, return_inverse=True)
        return cls(rows_KC, np.sort(group_N.reshape(-1)))

    @property
    def counts(self) -> Array:
        """The number of rows of each group."""
        return np.bincount(self.group_N, minlength=len(self.rows_KC)).astype(np.float64)

    def drawn_with_replacement(self) -> Iterator[Array]:
        """Yield weights of the bootstrap: how often each group is drawn. The axes are B and K."""
        rng = np.random.default_rng(SEED)
        for size in self._block_sizes(RESAMPLES):
            yield self._counted(self.group_N[rng.integers(0, len(self.group_N), (size, len(self.group_N)))])

    def halves(self) -> Iterator[Array]:
        """Yield, for random choices of rows, how many of each group are chosen. The axes are B and K."""
        rng = np.random.default_rng(SEED)
        starts_K = np.searchsorted(self.group_N, np.arange(len(self.rows_KC)))
        for size in self._block_sizes(SWAPS):
            chosen_BN = rng.integers(0, 2, (size, len(self.group_N)), dtype=np.int8)
            yield np.add.reduceat(chosen_BN, starts_K, axis=1, dtype=np.float64)

    def _block_sizes(self, resamples: int) -> Iterator[int]:
        size = max(1, NUMBERS_IN_A_BLOCK // len(self.group_N))
        for done in range(0, resamples, size):
            yield min(size, resamples - done)

    def _counted(self, drawn_BN: NDArray[np.intp]) -> Array:
        resamples, groups = len(drawn_BN), len(self.rows_KC)
        drawn_BN += groups * np.arange(resamples)[:, None]
        counts = np.bincount(drawn_BN.ravel(), minlength=resamples * groups)
        return counts.reshape(resamples, groups).astype(np.float64)
