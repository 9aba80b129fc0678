"""The two forms in which a criterion sums up rows: a ratio of sums, and macro F1.

A statistic computes its value from weighted rows, so that a resample is only another set of weights. Arrays
carry their axes: B resamples, K rows (or groups of equal rows), L labels.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Statistic(Protocol):
    """How a value follows from rows, each with a few numbers, and their weights."""

    def values(self, rows_KC: Array, weights_BK: Array) -> Array:
        """Return the value of each set of weights."""

    def influences(self, rows_KC: Array, weights_BK: Array) -> Array:
        """Return how each value changes with each row's weight: its derivative (the influence function)."""


@dataclass(frozen=True)
class Ratio:
    """sum(w · numerator) / sum(w · denominator): a mean, a mean over tokens, or micro F1.

    A row is a numerator and a denominator.
    """

    def values(self, rows_KC: Array, weights_BK: Array) -> Array:
        return _divided(weights_BK @ rows_KC[:, 0], weights_BK @ rows_KC[:, 1])

    def influences(self, rows_KC: Array, weights_BK: Array) -> Array:
        totals_B = weights_BK @ rows_KC[:, 1]
        values_B = _divided(weights_BK @ rows_KC[:, 0], totals_B)
        return _divided(rows_KC[:, 0] - values_B[:, None] * rows_KC[:, 1], totals_B[:, None])


@dataclass(frozen=True)
class MacroF1:
    """The mean over labels of F1 = 2 · hits / (rows with the label + rows predicted as it).

    A row is the codes of its label and of the predicted label. Labels that no row has do not count. A
    prediction that is not a row's label has a code of its own, so it only counts as a miss.
    """

    labels: int

    def by_label(self, rows_KC: Array, weights_BK: Array) -> Array:
        """Return F1 of each label, and 0 for labels that no row has. The axes are B and L."""
        return self._scores(rows_KC, weights_BK)[0]

    def values(self, rows_KC: Array, weights_BK: Array) -> Array:
        f1_BL, _, present_BL = self._scores(rows_KC, weights_BK)
        return _divided(f1_BL.sum(axis=1), present_BL.sum(axis=1))

    def influences(self, rows_KC: Array, weights_BK: Array) -> Array:
        f1_BL, sizes_BL, present_BL = self._scores(rows_KC, weights_BK)
        label_K, predicted_K = rows_KC.astype(np.intp).T
        hit_K = 2.0 * (label_K == predicted_K)
        change_BL = _divided(f1_BL, sizes_BL)
        change_BK = _divided(hit_K, sizes_BL[:, label_K]) - change_BL[:, label_K] - change_BL[:, predicted_K]
        return _divided(change_BK, present_BL.sum(axis=1)[:, None])

    def _scores(self, rows_KC: Array, weights_BK: Array) -> tuple[Array, Array, Array]:
        """Return F1, rows with or predicted as the label, and whether a row has the label."""
        label_K, predicted_K = rows_KC.astype(np.intp).T
        actual_BL = self._sums(weights_BK, label_K)
        sizes_BL = actual_BL + self._sums(weights_BK, predicted_K)
        hits_BL = self._sums(weights_BK * (label_K == predicted_K), label_K)
        present_BL = (actual_BL > 0).astype(np.float64)
        return _divided(2 * hits_BL, sizes_BL) * present_BL, sizes_BL, present_BL

    def _sums(self, weights_BK: Array, codes_K: NDArray[np.intp]) -> Array:
        """Return the sum of the weights of each code. The last code stands for all other predictions."""
        resamples, codes = len(weights_BK), self.labels + 1
        places_BK = codes_K + codes * np.arange(resamples)[:, None]
        sums = np.bincount(places_BK.ravel(), weights_BK.ravel(), minlength=resamples * codes)
        return sums.reshape(resamples, codes).astype(np.float64, copy=False)


@dataclass(frozen=True)
class Difference:
    """The value of the second half of a row's numbers minus that of the first half."""

    statistic: Statistic

    def values(self, rows_KC: Array, weights_BK: Array) -> Array:
        base_KC, tuned_KC = np.hsplit(rows_KC, 2)
        return self.statistic.values(tuned_KC, weights_BK) - self.statistic.values(base_KC, weights_BK)

    def influences(self, rows_KC: Array, weights_BK: Array) -> Array:
        base_KC, tuned_KC = np.hsplit(rows_KC, 2)
        of_base_BK = self.statistic.influences(base_KC, weights_BK)
        return self.statistic.influences(tuned_KC, weights_BK) - of_base_BK


def _divided(above: Array, below: Array) -> Array:
    """Return the quotients, and 0 where the divisor is 0."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)
