"""The rewards of a batch of answers, and what a job reports about them."""

from collections.abc import Mapping, Sequence
from math import nan
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from worker.grading.sample_grader import PARSE_FAULT
from worker.trainer.reinforce.answers import GradedAnswer


def rewards_GN(graded: Sequence[GradedAnswer], count: int) -> Tensor:  # noqa: N802 - axes
    """Return the rewards of groups of `count` answers to one prompt, in fp64.

    The reward of an answer that could not be graded is NaN.
    """
    found = [nan if one.reward is None else one.reward for one in graded]
    return torch.tensor(found, dtype=torch.float64).view(-1, count)


def mean_reward(graded: Sequence[GradedAnswer]) -> float:
    """Return the mean of the answers that could be graded, or NaN if there is none."""
    known = [one.reward for one in graded if one.reward is not None]
    return fmean(known) if known else nan


def mean_parse_error(graded: Sequence[GradedAnswer]) -> float:
    """Return the share of answers in which a grader found no JSON, where it needs some."""
    return fmean(one.grade.fault == PARSE_FAULT for one in graded)


def details_of(graded: Sequence[GradedAnswer], part: str, grader: Mapping[str, Any]) -> dict[str, Any]:
    """Return scores, usage and errors in OpenAI's form. `part` is "train" or "full_valid"."""
    known = [one.reward for one in graded if one.reward is not None]
    failed = [one.grade for one in graded if one.grader_failed]
    named = {"name": grader["name"], "type": grader["type"]}
    means = {f"{part}_{code}_mean": _share(failed, code, graded) for code in {one.fault for one in failed}}
    return {
        "scores": {
            "graders": [
                {
                    **named,
                    f"{part}_reward_mean": fmean(known) if known else None,
                    f"{part}_reward_min": min(known, default=None),
                    f"{part}_reward_max": max(known, default=None),
                }
            ]
        },
        "usage": {
            "samples": {
                f"{part}_completion_tokens_mean": fmean(len(one.answer.tokens) for one in graded),
                f"{part}_truncated_mean": fmean(not one.answer.finished for one in graded),
            }
        },
        "errors": {"graders": [{**named, f"{part}_grader_error_mean": len(failed) / len(graded), **means}]},
    }


def _share(failed: Sequence[Any], code: str | None, graded: Sequence[GradedAnswer]) -> float:
    return sum(one.fault == code for one in failed) / len(graded)
