"""Intervals of 95 %, by the method that covers best for the kind of value.

- Shares of rows (scores of 0 and 1): Wilson's interval. Near 0 and 1, the bootstrap covers far less than it
  says (Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", 2001).
- All else: the studentised bootstrap over rows, whose error shrinks fastest for skewed values such as losses
  (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 12 and 22). The standard error of
  a resample follows from the influence function, so no second level of resampling is needed.
- Few rows, or so few different ones that a resample may have no spread: the bootstrap cannot tell how sure
  the value is. Values between 0 and 1 then have Wilson's interval for as many rows as would give their
  standard error (Franco et al., "Comparative study of confidence intervals for proportions in complex sample
  surveys", 2019). All others have Student's interval.
- Differences of shares in the same rows: the interval of Bonett and Price ("Adjusted Wald confidence interval
  for a difference of binomial proportions based on paired data", 2012).
"""

from dataclasses import dataclass

import numpy as np

from core.evals.statistics.measures import Array, Measure
from core.evals.statistics.resampling import Groups

Z = 1.959964
Bounds = tuple[float, float]
ANYWHERE: Bounds = (-np.inf, np.inf)
NOT_NEGATIVE: Bounds = (0.0, np.inf)
BETWEEN_0_AND_1: Bounds = (0.0, 1.0)

FEWEST_ROWS_TO_RESAMPLE = 20
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
STUDENT += (2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101)  # for 1 to 18 degrees of freedom


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its interval. They are None if the rows do not tell how sure it is."""

    value: float
    low: float | None
    high: float | None


def wilson(share: float, rows: float) -> Interval:
    """Return Wilson's score interval of a share of rows."""
    shrunk = 1 + Z**2 / rows
    middle = (share + Z**2 / (2 * rows)) / shrunk
    half = Z / shrunk * float(np.sqrt(share * (1 - share) / rows + (Z / (2 * rows)) ** 2))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def difference_of_shares(gained: int, lost: int, rows: int) -> Interval:
    """Return the interval of (gained - lost) / rows, of Bonett and Price."""
    up, down = (gained + 1) / (rows + 2), (lost + 1) / (rows + 2)
    half = Z * float(np.sqrt((up + down - (up - down) ** 2) / (rows + 2)))
    return Interval((gained - lost) / rows, max(-1.0, up - down - half), min(1.0, up - down + half))


def interval(measure: Measure, rows_NC: Array, bounds: Bounds) -> Interval:
    """Return the value of rows and its interval, cut at `bounds`. There must be a row."""
    groups = Groups.of(rows_NC)
    counts_1K = groups.counts[None]
    value = float(measure.values(groups.rows_KC, counts_1K)[0])
    error = float(_standard_errors(measure, groups, counts_1K)[0])
    spread = _studentised(measure, groups, value) if len(rows_NC) >= FEWEST_ROWS_TO_RESAMPLE else None
    if spread is None and bounds == BETWEEN_0_AND_1:
        return wilson(value, _rows_of_a_share(value, error, len(rows_NC)))
    if spread is None and len(rows_NC) < 2:
        return Interval(value, None, None)
    low, high = spread or (-_student(len(rows_NC)), _student(len(rows_NC)))
    lowest, highest = bounds
    return Interval(value, max(lowest, value - high * error), min(highest, value - low * error))


def _studentised(measure: Measure, groups: Groups, value: float) -> tuple[float, float] | None:
    """Return the 2.5 % and 97.5 % quantiles of (value - mean) / error in resamples. None if one is flat."""
    quotients: list[Array] = []
    for weights_BK in groups.drawn_with_replacement():
        errors_B = _standard_errors(measure, groups, weights_BK)
        if not errors_B.all():
            return None
        quotients.append((measure.values(groups.rows_KC, weights_BK) - value) / errors_B)
    low, high = np.quantile(np.concatenate(quotients), (0.025, 0.975))
    return float(low), float(high)


def _standard_errors(measure: Measure, groups: Groups, weights_BK: Array) -> Array:
    """Return the standard error of each value, by the infinitesimal jackknife. Rounding errors count as 0."""
    rows = len(groups.group_N)
    squares_BK = measure.influences(groups.rows_KC, weights_BK) ** 2
    errors_B = np.sqrt((weights_BK * squares_BK).sum(axis=1) * rows / max(1, rows - 1))
    return np.where(errors_B > 1e-12, errors_B, 0.0)


def _rows_of_a_share(value: float, error: float, rows: int) -> float:
    """Return how many rows with scores of 0 and 1 would give the error."""
    return max(1.0, value * (1 - value) / error**2) if error else rows


def _student(rows: int) -> float:
    return STUDENT[rows - 2] if rows - 2 < len(STUDENT) else Z
