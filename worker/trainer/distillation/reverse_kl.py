"""How far a student's answers are from its teacher, in nats, and what a job reports about it.

The answers are sampled from the student. So the mean of log p_student − log p_teacher over their tokens
estimates the reverse KL divergence of a token (Agarwal et al. 2023, arXiv:2306.13649).
"""

from collections.abc import Sequence
from math import nan
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from worker.trainer.reinforce.answers import GradedAnswer

Nats = NDArray[np.float64]


def gains_of(one: GradedAnswer) -> Nats | None:
    """Return log p_teacher − log p_student of each token; None if the teacher has failed."""
    if one.grade.grader_failed or one.grade.logprobs is None:
        return None
    return np.array(one.grade.logprobs, np.float64) - one.answer.logprobs


def reverse_kl(answers: Sequence[GradedAnswer]) -> float:
    """Return the mean over the tokens that the student has chosen; NaN if the teacher has read none of them.

    A token is not chosen if the form of the answers admits no other.
    """
    read = [(gains, one.answer.forced) for one in answers if (gains := gains_of(one)) is not None]
    chosen = [gains[~forced] for gains, forced in read]
    tokens = sum(map(len, chosen))
    return -float(sum(gains.sum() for gains in chosen)) / tokens if tokens else nan


def measures_of(graded: Sequence[GradedAnswer]) -> dict[str, float]:
    """Return the metrics of a step or a validation, without the prefix of their names.

    `teacher_tokens` are those that the teacher has read: each answer with its prompt.
    """
    read = [one.answer for one in graded if not one.grade.grader_failed and len(one.answer.tokens)]
    return {
        "mean_reverse_kl": reverse_kl(graded),
        "teacher_tokens": sum(len(answer.prompt_L) + len(answer.tokens) for answer in read),
        "teacher_error_mean": fmean(one.grade.grader_failed for one in graded),
    }
