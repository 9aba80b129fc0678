"""Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): which candidates train on, and when."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf, isfinite, log2, sqrt

from worker.engine.step.totals import Score

LAST_RUNG = 1 / 4  # of all steps
FEWEST_STEPS = 2  # before the first rung: the first step of a warmup changes nothing


@dataclass(frozen=True)
class Rung:
    """After `step` steps at most `keep` candidates train on."""

    step: int
    keep: int


@dataclass(frozen=True)
class Lag:
    """By how much a loss is above another's, and the standard error of that."""

    loss: float
    noise: float


def rungs(candidates: int, total_steps: int) -> list[Rung]:
    """Each halves the candidates: the last but one at a quarter of the steps, those before at half of the
    next one's, and one at the end for what is left undecided by then.

    With K = log₂ candidates, training costs 1.25 + (K − 1) / 4 runs, to the rounding of steps: 1.5 of 4
    candidates, 2 of 16.
    """
    halvings = ceil(log2(candidates))
    found, step = [], FEWEST_STEPS - 1
    for number in range(1, halvings + 1):
        step = max(step + 1, ceil(total_steps * LAST_RUNG / 2 ** (halvings - number)))
        if step < total_steps:
            found.append(Rung(step, ceil(candidates / 2**number)))
    return [*found, Rung(total_steps, 1)]


def lag(score: Score, best: Score) -> Lag:
    """Paired by rows, whose losses differ far more from each other than two candidates do on one row.

        D = Σ d / Σ t over the rows, d = nll − nll of the best, t = tokens
        noise² = n / (n − 1) · Σ (d − D t)² / (Σ t)²

    which is the standard error of a ratio of means (Cochran 1977, Sampling Techniques, 6.4). Without losses
    of rows, or of one row alone, nothing is known of the noise, and it is 0.
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
    """Of all candidates, by their numbers, behind the best."""
    best = scores[_by_loss(scores)[0]]
    return {number: lag(score, best) for number, score in scores.items()}


def survivors(scores: Mapping[int, Score], keep: int, prefer_small: bool = False) -> list[int]:
    """Numbers of the `keep` candidates that train on, the leader first.

    They are those of the lowest losses. With `prefer_small`, where candidates are numbered by their size, one
    that is within noise of the best counts as no worse: the smallest such is the last one that is left, and
    until then they go on beside the best, before what is worse.
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
