"""The time until a reward, from curves of seconds and mean rewards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Curve = Sequence[tuple[float, float]]
"""Seconds and the mean reward after so many seconds, in the order of time."""


def common_reward(curves: Sequence[Curve]) -> float | None:
    """Return the highest reward that each curve reaches. None if a curve already begins with it."""
    reached = min(max(reward for _, reward in curve) for curve in curves)
    began = max(curve[0][1] for curve in curves)
    return reached if reached > began else None


def seconds_to(curve: Curve, reward: float) -> float | None:
    """Return when the curve first reaches a reward, or None. A line joins each two validations."""
    if curve[0][1] >= reward:
        return curve[0][0]
    for (before, low), (after, high) in pairwise(curve):
        if high >= reward:
            return before + (after - before) * (reward - low) / (high - low)
    return None
