"""The mean rewards of models on the prompts held out, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.evals.statistics.intervals import BETWEEN_0_AND_1, Interval, interval_of_value
from core.evals.statistics.statistic import Ratio


def mean_reward(rewards: Sequence[Sequence[float]]) -> Interval:
    """Return the mean reward with an interval of 95 % over the prompts. There is a list for each seed.

    A prompt counts once, with its mean over the seeds. So the interval says how sure the mean is for other
    prompts, and not for other seeds.
    """
    of_prompts = np.mean(np.array(rewards, np.float64), axis=0)
    return interval_of_value(
        Ratio(), np.stack([of_prompts, np.ones_like(of_prompts)], axis=1), BETWEEN_0_AND_1
    )


def means_of_seeds(rewards: Sequence[Sequence[float]]) -> list[float]:
    return [float(np.mean(each)) for each in rewards]
