"""What a job with distillation measures of answers that its teacher has read."""

from math import isnan

import numpy as np
import pytest

from tests.fixtures.engine.rollouts import whole
from worker.engine.sampler.rollouts import Sampled
from worker.grading.graded import Graded
from worker.trainer.distillation.reverse_kl import gains_of, measures_of, reverse_kl
from worker.trainer.reinforce.answers import GradedAnswer

FAILED = Graded(0.0, "server_lost", "2 servers stopped while they worked on this row.")


def answered(student: list[float], grade: Graded, forced: list[bool] | None = None) -> GradedAnswer:
    """Return an answer to a prompt of three tokens, with the student's log-probabilities and its grade."""
    count = len(student)
    answer = Sampled(
        line=1,
        prompt_L=np.arange(3, dtype=np.int32),
        tokens=np.arange(count, dtype=np.int32),
        logprobs=np.array(student, np.float32),
        forced=np.array(forced or [False] * count, np.bool_),
        text="",
        finished=True,
    )
    return GradedAnswer(whole(answer), grade)


def test_the_gain_of_a_token_is_how_much_likelier_the_teacher_finds_it() -> None:
    gains = gains_of(answered([-1.0, -2.0], Graded(0.0, logprobs=(-0.5, -4.0))))
    assert gains is not None
    assert gains.tolist() == [0.5, -2.0]


def test_the_reverse_kl_is_a_mean_over_all_tokens_that_the_student_has_chosen() -> None:
    long = answered([-1.0, -1.0, -1.0], Graded(0.0, logprobs=(-2.0, -9.0, -3.0)), [False, True, False])
    short = answered([-1.0], Graded(0.0, logprobs=(-1.0,)))
    assert reverse_kl([long, short]) == pytest.approx((1 + 2 + 0) / 3)


def test_an_answer_that_the_teacher_could_not_read_counts_as_an_error_alone() -> None:
    read, failed = answered([-1.0], Graded(0.0, logprobs=(-1.5,))), answered([-1.0, -1.0], FAILED)
    assert gains_of(failed) is None
    found = measures_of([read, failed])
    assert found == pytest.approx({"mean_reverse_kl": 0.5, "teacher_tokens": 4, "teacher_error_mean": 0.5})


def test_nothing_is_known_if_nothing_was_read() -> None:
    assert isnan(reverse_kl([answered([-1.0], FAILED)]))
    assert isnan(reverse_kl([answered([], Graded(0.0, logprobs=()))]))
    assert measures_of([answered([], Graded(0.0, logprobs=()))])["teacher_tokens"] == 0
