"""How far two models differ on the same rows, and whether that is more than chance."""

from dataclasses import dataclass

import numpy as np

from core.evals.statistics.intervals import (
    ANYWHERE,
    BETWEEN_0_AND_1,
    Interval,
    interval_of_difference,
    interval_of_share_difference,
)
from core.evals.statistics.scores import Scores
from core.evals.statistics.significance import mid_p_mcnemar, swap_p_value
from core.evals.statistics.statistic import Difference

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class PairedDifference(Interval):
    """The second model's value minus the first one's, and the P value of the paired test."""

    p_value: float

    @property
    def is_rise(self) -> bool:
        """Whether the value has risen by more than chance."""
        return self.value > 0 and self.p_value < SIGNIFICANCE

    @property
    def is_fall(self) -> bool:
        """Whether the value has fallen by more than chance."""
        return self.value < 0 and self.p_value < SIGNIFICANCE


def difference_of(base: Scores, tuned: Scores) -> PairedDifference:
    """Return the difference between two models in the same rows, in the same order. There must be a row."""
    if base.are_shares and tuned.are_shares:
        change_N = tuned.rows_NC[:, 0] - base.rows_NC[:, 0]
        changed = int((change_N > 0).sum()), int((change_N < 0).sum())
        found = interval_of_share_difference(*changed, len(change_N))
        p_value = mid_p_mcnemar(*changed)
    else:
        bounds = (-1.0, 1.0) if base.bounds == BETWEEN_0_AND_1 else ANYWHERE
        rows_NC = np.hstack([base.rows_NC, tuned.rows_NC])
        found = interval_of_difference(Difference(base.statistic), rows_NC, bounds)
        p_value = swap_p_value(base.statistic, base.rows_NC, tuned.rows_NC)
    return PairedDifference(found.value, found.low, found.high, p_value)
