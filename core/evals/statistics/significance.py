"""Tests whether two models differ on the same rows."""

import numpy as np

from core.evals.statistics.resampling import SWAPS, Groups
from core.evals.statistics.statistic import Array, Statistic


def mid_p_mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided mid-P value of McNemar's test, from the rows that one model alone got right.

    The exact test rejects too rarely; the mid-P value rejects about as often as it says (Fagerland, Lydersen
    and Laake, "The McNemar test for binary matched-pairs data: mid-p and asymptotic are better than exact
    conditional", 2013).
    """
    changed = gained + lost
    if not changed:
        return 1.0
    fewer = np.arange(min(gained, lost) + 1)
    steps = np.log((changed - fewer[:-1]) / (fewer[:-1] + 1))
    chances = np.exp(np.concatenate([[0.0], np.cumsum(steps)]) - changed * np.log(2))
    return float(min(1.0, 2 * chances.sum() - chances[-1]))


def swap_p_value(statistic: Statistic, base_NC: Array, tuned_NC: Array) -> float:
    """Return the two-sided P value of a permutation test that swaps the two models in random rows.

    If the models were equal, a swap would change nothing but chance. For means and sums this is the sign-flip
    test of the rows' differences. With R random swaps, (1 + those at least as far apart) / (1 + R) is a valid
    P value (Phipson and Smyth, "Permutation P-values should never be zero", 2010).
    """
    groups = Groups.of(np.hstack([base_NC, tuned_NC]))
    both_KC = np.vstack(np.hsplit(groups.rows_KC, 2))

    def distances(kept_BK: Array) -> Array:
        swapped_BK = groups.counts - kept_BK
        first_B = statistic.values(both_KC, np.hstack([kept_BK, swapped_BK]))
        second_B = statistic.values(both_KC, np.hstack([swapped_BK, kept_BK]))
        return np.abs(second_B - first_B)

    observed = float(distances(groups.counts[None])[0]) * (1 - 1e-9)  # equal, apart from rounding
    as_far = sum(int((distances(kept_BK) >= observed).sum()) for kept_BK in groups.halves())
    return (1 + as_far) / (1 + SWAPS)
