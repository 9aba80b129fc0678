"""Successive halving: decides which candidates train on, and when.

Source: Jamieson and Talwalkar 2016, arXiv:1502.07943.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf, isfinite, log2, sqrt

from worker.engine.step.totals import Score

LAST_RUNG = 1 / 4  # of all steps
FEWEST_STEPS = 2  # the least steps before the first rung: the first step of a warmup changes nothing


@dataclass(frozen=True)
class Rung:
    """A comparison: after `step` steps, at most `keep` candidates train on."""

    step: int
    keep: int


@dataclass(frozen=True)
class Lag:
    """The difference between a loss and the lowest loss, and the standard error of that difference."""

    loss: float
    noise: float


def rungs(candidates: int, total_steps: int) -> list[Rung]:
    """Return the rungs of a search. Each rung halves the number of candidates.

    The last halving comes after a quarter of the steps, and each halving before it after half as many steps
    as the next one. One more rung, after the last step, decides if several candidates are left by then.

    With K = log₂ candidates, training costs 1.25 + (K − 1) / 4 times as much as for one candidate, apart from
    the rounding of steps: 1.5 times for 4 candidates, 2 times for 16.
    """
    halvings = ceil(log2(candidates))
    found, step = [], FEWEST_STEPS - 1
    for number in range(1, halvings + 1):
        step = max(step + 1, ceil(total_steps * LAST_RUNG / 2 ** (halvings - number)))
        if step < total_steps:
            found.append(Rung(step, ceil(candidates / 2**number)))
    return [*found, Rung(total_steps, 1)]


def lag(score: Score, best: Score) -> Lag:
    """Return how far `score` lies above `best`, compared row by row.

    The comparison is paired, since the losses of two rows differ far more than those of two candidates on the
    same row:

        D = Σ d / Σ t over the rows, d = nll − nll of the best, t = tokens
        noise² = n / (n − 1) · Σ (d − D t)² / (Σ t)²

    This is the standard error of a ratio of means (Cochran 1977, Sampling Techniques, 6.4). Without the
    losses of at least two rows, nothing is known of the noise, and it is taken as 0.
    """
    loss = score.loss - best.loss if isfinite(score.loss) else inf
    if score.nll_X is None or best.nll_X is None or best.tokens_X is None or not isfinite(loss):
        return Lag(loss, 0.0)
    rows, tokens = len(best.nll_X), float(best.tokens_X.sum())
    if rows < 2:
        return Lag(loss, 0.0)
    rest_X = score.nll_X - best.nll_X - loss * best.tokens_X
    return Lag(loss, sqrt(rows / (rows - 1) * float((rest_X**2).sum())) / tokens)


def lags(scores: Mapping[int, Score]) -> dict[int, Lag]:
    """Return how far each candidate lies behind the best one, by the candidates' numbers."""
    best = scores[_by_loss(scores)[0]]
    return {number: lag(score, best) for number, score in scores.items()}


def survivors(scores: Mapping[int, Score], keep: int, prefer_small: bool = False) -> list[int]:
    """Return the numbers of the `keep` candidates that train on, the best one first.

    They are the candidates with the lowest losses. With `prefer_small`, candidates are numbered by their
    size, and a candidate within noise of the best one counts as no worse. In the last comparison, where one
    candidate is kept, the smallest of these wins. In earlier comparisons these come after the best one, the
    smallest first, and before the candidates that are worse.
    """
    ranking = _by_loss(scores)
    if not prefer_small:
        return ranking[:keep]
    behind = lags(scores)
    alike = sorted(number for number in ranking if behind[number].loss <= behind[number].noise)
    first = alike if keep == 1 else [ranking[0], *alike]
    return list(dict.fromkeys([*first, *ranking]))[:keep]


def _by_loss(scores: Mapping[int, Score]) -> list[int]:
    def key(number: int) -> tuple[float, int]:
        loss = scores[number].loss
        return (loss if isfinite(loss) else inf), number

    return sorted(scores, key=key)
