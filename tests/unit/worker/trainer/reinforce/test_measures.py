"""What is measured of answers: repetition by the paper's formula, and means without what is unknown."""

from math import isnan

import numpy as np
import pytest

from tests.fixtures.engine.rollouts import whole
from worker.engine.sampler.rollouts import Sampled
from worker.grading.graded import PARSE_FAULT, Graded
from worker.trainer.reinforce.answers import GradedAnswer
from worker.trainer.reinforce.measures import mean_entropy, mean_of, measured, quantiles_of, repetition

FAILED = Graded(0.0, "other_error", "The grader failed.")


def answer(
    tokens: list[int], grade: Graded, audit: Graded | None = None, finished: bool = True
) -> GradedAnswer:
    size = len(tokens)
    logprobs, forced = np.full(size, -2.0, np.float32), np.zeros(size, np.bool_)
    prompt = np.zeros(1, np.int32)
    sampled = Sampled(1, prompt, np.array(tokens, np.int32), logprobs, forced, "", finished)
    return GradedAnswer(whole(sampled), grade, audit)


@pytest.mark.parametrize(
    ("tokens", "share"),
    [
        ([], 0),
        ([7, 7, 7], 0),
        ([1, 2, 3, 4, 5, 6, 7], 0),
        ([7] * 7, 3 / 4),  # four 4-grams, one of them unique
        ([1, 2, 3, 4, 1, 2, 3, 4], 1 / 5),
    ],
)
def test_repetition_is_the_share_of_4_grams_that_came_before(tokens: list[int], share: float) -> None:
    assert repetition(np.array(tokens, np.int32)) == pytest.approx(share)


def test_each_prompt_has_the_means_of_its_own_answers_without_what_could_not_be_graded() -> None:
    unparsed = Graded(0.0, PARSE_FAULT, "It is no JSON.")
    found = measured(
        [
            answer([1, 2], Graded(1.0), FAILED),
            answer([1, 2, 3, 4], FAILED, Graded(0.5), finished=False),
            answer([5], unparsed, FAILED),
            answer([5], Graded(0.5), FAILED),
        ],
        2,
    )
    assert found["reward"] == [1.0, 0.25]
    assert found["audit"] == [0.5, None]
    assert found["completion_tokens"] == [3, 1]
    assert found["truncated"] == [0.5, 0]
    assert mean_of(found, "audit") == 0.5
    assert isnan(mean_of({"audit": [None, None]}, "audit"))


def test_the_quantiles_of_prompts_leave_out_those_without_a_grade() -> None:
    found = quantiles_of({"reward": [*(number / 10 for number in range(11)), None]}, "reward")
    assert found == {"p10": pytest.approx(0.1), "p50": pytest.approx(0.5), "p90": pytest.approx(0.9)}
    assert quantiles_of({"reward": [None]}, "reward") == {}


def test_entropy_leaves_out_the_tokens_that_a_grammar_forced() -> None:
    one = answer([1, 2, 3], Graded(1.0))
    one.answer.forced[2], one.answer.logprobs[:] = True, [-1, -3, -50]
    assert mean_entropy([one]) == pytest.approx(2.0)
