"""Intervals of 95 %. For each kind of value, the method is the one that covers best.

`docs/how-to/evaluate-statistics.md` has the measurements.

- Shares of rows (scores of 0 and 1): Wilson's interval. Near 0 and 1, the bootstrap covers far less than it
  says (Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", 2001).
- Other values between 0 and 1, such as F1: the bias-corrected and accelerated bootstrap over rows, BCa, as a
  resample may have no spread (Efron, "Better bootstrap confidence intervals", 1987).
- Values without an upper bound, such as losses: the studentised bootstrap, since it follows their skew (Efron
  and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 12).
- Differences: the symmetric studentised bootstrap (Hall, "On symmetric bootstrap confidence intervals",
  1988). Differences of shares: the interval of Bonett and Price ("Adjusted Wald confidence interval for a
  difference of binomial proportions based on paired data", 2012).
- Few rows, or rows without spread: no bootstrap can tell how sure the value is. A value between 0 and 1 has
  Wilson's interval for the number of rows that would give its standard error (Franco et al., "Comparative
  study of confidence intervals for proportions in complex sample surveys", 2019), others have Student's.

Standard errors follow from the influence functions (the infinitesimal jackknife), so no second level of
resampling is needed.
"""

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from core.evals.statistics.resampling import RESAMPLES, Groups
from core.evals.statistics.statistic import Array, Statistic

Bounds = tuple[float, float]
ANYWHERE: Bounds = (-np.inf, np.inf)
NOT_NEGATIVE: Bounds = (0.0, np.inf)
BETWEEN_0_AND_1: Bounds = (0.0, 1.0)

TAILS = (0.025, 0.975)
NORMAL = NormalDist()
Z = NORMAL.inv_cdf(0.975)
FEWEST_ROWS_TO_RESAMPLE = 20
# Student's quantiles for 1 to 18 degrees of freedom
STUDENT: tuple[float, ...] = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262),
    *(2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101),
)
ROUNDING = 1e-12  # a standard error below is none


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its interval. They are None if the rows do not tell how sure it is."""

    value: float
    low: float | None
    high: float | None

    def within(self, bounds: Bounds) -> "Interval":
        """Return the interval without what lies beyond the bounds."""
        if self.low is None or self.high is None:
            return self
        return Interval(self.value, max(bounds[0], self.low), min(bounds[1], self.high))


def interval_of_share(share: float, rows: float) -> Interval:
    """Return Wilson's score interval of a share of rows."""
    shrunk = 1 + Z**2 / rows
    middle = (share + Z**2 / (2 * rows)) / shrunk
    half = Z / shrunk * float(np.sqrt(share * (1 - share) / rows + (Z / (2 * rows)) ** 2))
    return Interval(share, middle - half, middle + half).within(BETWEEN_0_AND_1)


def interval_of_share_difference(gained: int, lost: int, rows: int) -> Interval:
    """Return the interval of (gained - lost) / rows, of Bonett and Price."""
    up, down = (gained + 1) / (rows + 2), (lost + 1) / (rows + 2)
    half = Z * float(np.sqrt((up + down - (up - down) ** 2) / (rows + 2)))
    return Interval((gained - lost) / rows, up - down - half, up - down + half).within((-1, 1))


def interval_of_value(statistic: Statistic, rows_NC: Array, bounds: Bounds) -> Interval:
    """Return the interval of a value that is not a share of rows. There must be a row."""
    estimate = _Estimate(statistic, Groups.of(rows_NC))
    if bounds == BETWEEN_0_AND_1:
        found = _bca(estimate) if estimate.can_be_resampled else _as_share(estimate)
    else:
        found = _studentised(estimate, symmetric=False) or _student(estimate)
    return found.within(bounds)


def interval_of_difference(statistic: Statistic, rows_NC: Array, bounds: Bounds) -> Interval:
    """Return the interval of a difference between two models in the same rows. There must be a row."""
    estimate = _Estimate(statistic, Groups.of(rows_NC))
    return (_studentised(estimate, symmetric=True) or _student(estimate)).within(bounds)


@dataclass(frozen=True)
class _Estimate:
    """A value with its standard error."""

    statistic: Statistic
    groups: Groups

    @cached_property
    def value(self) -> float:
        return float(self.statistic.values(self.groups.rows_KC, self.groups.counts[None])[0])

    @cached_property
    def error(self) -> float:
        return float(self.errors(self.groups.counts[None])[0])

    @property
    def rows(self) -> int:
        return len(self.groups.group_N)

    @property
    def can_be_resampled(self) -> bool:
        return self.rows >= FEWEST_ROWS_TO_RESAMPLE and self.error > 0

    def errors(self, weights_BK: Array) -> Array:
        """Return the standard error of each resample's value."""
        squares_BK = self.statistic.influences(self.groups.rows_KC, weights_BK) ** 2
        errors_B = np.sqrt((weights_BK * squares_BK).sum(axis=1) * self.rows / max(1, self.rows - 1))
        return np.where(errors_B > ROUNDING, errors_B, 0.0)


def _studentised(estimate: _Estimate, *, symmetric: bool) -> Interval | None:
    """Return the interval from the quantiles of (resample - value) / error. None if a resample is flat."""
    if not estimate.can_be_resampled:
        return None
    quotients: list[Array] = []
    for weights_BK in estimate.groups.drawn_with_replacement():
        errors_B = estimate.errors(weights_BK)
        if not errors_B.all():
            return None
        values_B = estimate.statistic.values(estimate.groups.rows_KC, weights_BK)
        quotients.append((values_B - estimate.value) / errors_B)
    quotients_B = np.concatenate(quotients)
    if symmetric:
        high = float(np.quantile(np.abs(quotients_B), 0.95))
        return _around(estimate, -high, high)
    low, high = np.quantile(quotients_B, TAILS).tolist()
    return _around(estimate, low, high)


def _bca(estimate: _Estimate) -> Interval:
    groups, value = estimate.groups, estimate.value
    values_B = np.concatenate(
        [estimate.statistic.values(groups.rows_KC, weights) for weights in groups.drawn_with_replacement()]
    )
    below = float((values_B < value).mean() + (values_B == value).mean() / 2)
    bias = NORMAL.inv_cdf(min(max(below, 1 / RESAMPLES), 1 - 1 / RESAMPLES))
    influences_K = estimate.statistic.influences(groups.rows_KC, groups.counts[None])[0]
    squares, cubes = (float((groups.counts * influences_K**power).sum()) for power in (2, 3))
    acceleration = cubes / (6 * squares**1.5)
    shifted = [bias + NORMAL.inv_cdf(tail) for tail in TAILS]
    tails = [NORMAL.cdf(bias + each / (1 - acceleration * each)) for each in shifted]
    low, high = np.quantile(values_B, tails).tolist()
    return Interval(value, low, high)


def _as_share(estimate: _Estimate) -> Interval:
    """Return the interval that a share of rows with the same value and standard error has."""
    variance = estimate.value * (1 - estimate.value)
    rows = max(1.0, variance / estimate.error**2) if estimate.error else estimate.rows
    return interval_of_share(estimate.value, rows)


def _student(estimate: _Estimate) -> Interval:
    if estimate.rows < 2:
        return Interval(estimate.value, None, None)
    high = STUDENT[estimate.rows - 2] if estimate.rows - 2 < len(STUDENT) else Z
    return _around(estimate, -high, high)


def _around(estimate: _Estimate, low: float, high: float) -> Interval:
    """Return the interval whose ends lie so many standard errors away, as quantiles of a quotient."""
    return Interval(
        estimate.value, estimate.value - high * estimate.error, estimate.value - low * estimate.error
    )
