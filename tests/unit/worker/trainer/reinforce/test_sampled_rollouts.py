"""A job that learns nothing in its first steps ends, and its error names what has failed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from core.errors import JobError
from core.objectives.reinforcement import GRADER, TOOLS
from tests.fixtures.engine.rollouts import ANSWERS, prompts, reinforcement_spec, whole
from worker.engine.sampler.rollouts import Sampled
from worker.grading.graded import TOOL_FAULT, Graded
from worker.rows.rollout import Rollout
from worker.rows.row import Row
from worker.trainer.reinforce.answers import GradedAnswer
from worker.trainer.reinforce.rollouts import RewardRollouts
from worker.trainer.reinforce.sampled_rollouts import FRUITLESS_STEPS

PROMPTS = prompts(1)
BY_TOOL = Graded(0.0, TOOL_FAULT, "The tool answered 500.")
BY_GRADER = Graded(0.0, "server_lost", "The server stopped.")
ALIKE = Graded(0.5)
TOOLS_FAIL, GRADER_FAILS = [BY_TOOL] * ANSWERS, [BY_GRADER] * ANSWERS
BOTH_FAIL = [BY_TOOL, *[BY_GRADER] * (ANSWERS - 1)]


@dataclass
class Script:
    """A trainee, its process group and its sampler in one, with the grades of each step."""

    grades: Sequence[Sequence[Graded]]
    step: int = 0
    name: str = "job"
    needs_rollouts: bool = True

    @property
    def next_prompts(self) -> list[Row]:
        return PROMPTS

    def begin(self, *_: Any) -> Any:
        graded = [GradedAnswer(answer(grade), grade) for grade in self.grades[self.step]]
        return SimpleNamespace(advance=lambda _: True, seconds={}, result=lambda: graded)

    def take_rollouts(self, _: str, rollouts: Sequence[Rollout]) -> None:
        assert len(rollouts) == ANSWERS
        self.step += 1


def answer(grade: Graded) -> Any:
    tokens = np.arange(2, dtype=np.int32)
    prompt = PROMPTS[0].tokens_L
    found = whole(Sampled(1, prompt, tokens, np.zeros(2, np.float32), np.zeros(2, np.bool_), "", True))
    return replace(found, tool_error=grade.message if grade.fault == TOOL_FAULT else None)


def ended(*grades: Sequence[Graded]) -> JobError:
    """Return the error with which a job ends in the last of its first steps, with these grades by step."""
    script = Script(grades)
    part = cast(Any, script)
    rollouts = RewardRollouts(part, part, reinforcement_spec(), part, cast(Any, None))
    for _ in range(FRUITLESS_STEPS - 1):
        rollouts.advance(lambda: False)
    with pytest.raises(JobError) as raised:
        rollouts.advance(lambda: False)
    return raised.value


def test_tools_are_named_if_all_answers_have_failed_by_them() -> None:
    error = ended(*[TOOLS_FAIL] * FRUITLESS_STEPS)
    assert (error.code, error.param) == ("tool_failed", TOOLS)
    assert str(BY_TOOL.message) in str(error)


@pytest.mark.parametrize(
    "grades",
    [
        [GRADER_FAILS] * FRUITLESS_STEPS,
        [BOTH_FAIL] * FRUITLESS_STEPS,
        [*[TOOLS_FAIL] * (FRUITLESS_STEPS - 1), BOTH_FAIL],
        [BOTH_FAIL, *[TOOLS_FAIL] * (FRUITLESS_STEPS - 1)],
        [*[GRADER_FAILS] * (FRUITLESS_STEPS - 1), TOOLS_FAIL],
    ],
)
def test_the_grader_is_named_with_its_own_message_if_it_has_failed_too(
    grades: list[list[Graded]],
) -> None:
    error = ended(*grades)
    assert (error.code, error.param) == ("grader_failed", GRADER)
    assert str(BY_GRADER.message) in str(error)
    assert str(BY_TOOL.message) not in str(error)


@pytest.mark.parametrize("at", [0, 2, FRUITLESS_STEPS - 1])
def test_nothing_is_named_as_failed_if_one_answer_was_graded(at: int) -> None:
    grades: list[list[Graded]] = [TOOLS_FAIL] * FRUITLESS_STEPS
    grades[at] = [ALIKE, *TOOLS_FAIL[1:]]
    assert ended(*grades).code == "nothing_to_learn"


def test_a_job_that_has_learnt_once_goes_on_though_all_tools_fail() -> None:
    script = Script([[Graded(1.0), ALIKE, *TOOLS_FAIL[2:]], *[TOOLS_FAIL] * FRUITLESS_STEPS])
    part = cast(Any, script)
    rollouts = RewardRollouts(part, part, reinforcement_spec(), part, cast(Any, None))
    for _ in script.grades:
        rollouts.advance(lambda: False)
    assert script.step == len(script.grades)
