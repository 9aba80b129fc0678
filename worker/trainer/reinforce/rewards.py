"""The rewards of a batch of answers, and what a job reports about them."""

from collections.abc import Sequence
from math import nan
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from core.graders.schemas import Grader
from core.objectives.reinforcement import Reinforcement
from worker.grading.graded import PARSE_FAULT, Graded
from worker.trainer.reinforce.answers import GradedAnswer, judged


def rewards_GN(graded: Sequence[GradedAnswer], count: int) -> Tensor:  # noqa: N802 - axes
    """Return the rewards of groups of `count` answers to one prompt, in fp64.

    The reward of an answer that could not be graded is NaN.
    """
    found = [nan if one.reward is None else one.reward for one in graded]
    return torch.tensor(found, dtype=torch.float64).view(-1, count)


def mean_reward(graded: Sequence[GradedAnswer]) -> float:
    """Return the mean of the answers that could be graded, or NaN if there is none."""
    return _mean_score([one.grade for one in graded])


def mean_audit(graded: Sequence[GradedAnswer]) -> float:
    """Return the mean of the audit over the answers that it could grade, or NaN if there is none."""
    return _mean_score([one.audit for one in graded if one.audit is not None])


def _mean_score(grades: Sequence[Graded]) -> float:
    known = [grade.known_score for grade in grades if grade.known_score is not None]
    return fmean(known) if known else nan


def mean_parse_error(graded: Sequence[GradedAnswer]) -> float:
    """Return the share of answers in which a grader found no JSON, where it needs some."""
    found = [one.grade.fault == PARSE_FAULT for one in judged(graded)]
    return fmean(found) if found else 0.0


def tool_measures(graded: Sequence[GradedAnswer], objective: Reinforcement) -> dict[str, float]:
    """Return how answers use the job's tools, without the prefix of metrics; nothing if it has none."""
    if not objective.tools:
        return {}
    return {
        "tool_calls_mean": fmean(len(one.answer.calls) for one in graded),
        "tool_error_mean": fmean(one.answer.tool_error is not None for one in graded),
    }


def details_of(graded: Sequence[GradedAnswer], part: str, graders: Sequence[Grader]) -> dict[str, Any]:
    """Return scores, usage and errors in OpenAI's form. `part` is "train" or "full_valid".

    `graders` are the job's grader, and its audit if that has graded the answers too. Answers of which a tool
    has failed count among no grader's.
    """
    known = judged(graded)
    audits = [one.audit for one in known if one.audit is not None]
    by_grader = [*zip(graders, ([one.grade for one in known], audits), strict=False)]
    return {
        "scores": {"graders": [_scores(grades, part, grader) for grader, grades in by_grader]},
        "usage": {
            "samples": {
                f"{part}_completion_tokens_mean": fmean(len(one.answer.written) for one in graded),
                f"{part}_truncated_mean": fmean(not one.answer.finished for one in graded),
            }
        },
        "errors": {"graders": [_errors(grades, part, grader) for grader, grades in by_grader]},
    }


def _scores(grades: Sequence[Graded], part: str, grader: Grader) -> dict[str, Any]:
    known = [grade.known_score for grade in grades if grade.known_score is not None]
    return {
        "name": grader.name,
        "type": grader.type,
        f"{part}_reward_mean": fmean(known) if known else None,
        f"{part}_reward_min": min(known, default=None),
        f"{part}_reward_max": max(known, default=None),
    }


def _errors(grades: Sequence[Graded], part: str, grader: Grader) -> dict[str, Any]:
    faults, count = [grade.fault for grade in grades if grade.grader_failed], max(1, len(grades))
    return {
        "name": grader.name,
        "type": grader.type,
        f"{part}_grader_error_mean": len(faults) / count,
        **{f"{part}_{code}_mean": faults.count(code) / count for code in {*faults}},
    }
