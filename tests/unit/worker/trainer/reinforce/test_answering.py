"""Answers of several turns: nothing is lost where sampling was abandoned, or where a tool has failed."""

import json
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from core.endpoints.tools import ToolCall
from tests.fixtures.engine.rollouts import GRADER, prompts, reinforcement
from tests.fixtures.engine.training import make_spec
from tests.fixtures.rows.tool_rows import ASKED, RAIN_TOOL, TAGGED_TEMPLATE, answer
from worker.engine.sampler.rollouts import Sampled, Turn
from worker.engine.step.passes import Abandoned
from worker.grading.graded import TOOL_FAULT, Graded
from worker.grading.grading_thread import Tools
from worker.grading.tool_results import ToolResults
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.answers import Answering, AnswerSampler, GradedAnswer
from worker.trainer.reinforce.job_grading import JobGrading

CALL = '<tool_call>{"name": "rain", "arguments": {"place": "Lima"}}</tool_call>'
BETWEEN = [298, 299]  # the tokens of results, which stand in no prompt and in no turn
FAILURE = "The tool 'rain' gave no output: it answered 500."
COUNT = 2  # answers to each of two prompts
OBJECTIVE = reinforcement(
    tools=[{"name": "rain", "server_url": "https://tools.example.com"}],
    audit_grader={**GRADER, "name": "audit"},
)
SPEC = make_spec(objective=OBJECTIVE)


@dataclass
class Script:
    """A process group and a grading thread in one. Each answer calls its tool once, and then ends."""

    turns: list[Sequence[Turn]] = field(default_factory=list)
    orders: list[tuple[Any, list[Any], Future[list[Any]]]] = field(default_factory=list)

    @property
    def holder(self) -> Any:
        tokenizer = SimpleNamespace(get_chat_template=lambda **_: TAGGED_TEMPLATE)
        return SimpleNamespace(base=SimpleNamespace(tokenizer=tokenizer, folder=Path("base")))

    def sample(self, _: Any, turns: Sequence[Turn], abandon: Callable[[], bool]) -> list[Sampled]:
        self.turns.append(turns)
        if abandon():
            raise Abandoned
        return [self._sampled(turn) for turn in turns]

    def submit(self, _: str, __: str, by: Any, samples: list[Any], **___: Any) -> Future[list[Any]]:
        self.orders.append((by, samples, Future()))
        return self.orders[-1][2]

    def call(self, failing: Collection[int] = ()) -> None:
        """Answer the calls of the last order. Those of answers with these numbers fail."""
        _, samples, future = self.orders[-1]
        future.set_result(
            [
                ToolResults(error=FAILURE) if number in failing else _results(calls)
                for number, (_, _, calls, _, _) in enumerate(samples)
            ]
        )

    def grade(self) -> None:
        """Give the answer with number n the reward n, and the audit n + 0.5."""
        for by, samples, future in self.orders:
            if not isinstance(by, Tools):
                more = 0.5 if by.name == "audit" else 0.0
                future.set_result([Graded(number + more) for number, *_ in samples])

    @property
    def calls(self) -> list[ToolCall]:
        """All calls that were made."""
        return [
            call
            for by, samples, _ in self.orders
            if isinstance(by, Tools)
            for each in samples
            for call in each[2]
        ]

    def _sampled(self, turn: Turn) -> Sampled:
        goes_on = turn.before_L[-len(BETWEEN) :].tolist() == BETWEEN
        tokens = np.array([20, 1] if goes_on else [10, 11, 1], np.int32)
        logprobs, forced = np.full(len(tokens), -1.0, np.float32), np.zeros(len(tokens), np.bool_)
        return Sampled(
            turn.line,
            turn.before_L,
            tokens,
            logprobs,
            forced,
            "It is dry." if goes_on else CALL,
            finished=True,
        )


def _results(calls: Sequence[ToolCall]) -> ToolResults:
    return ToolResults([answer(f"output of {call.id}", call.id) for call in calls], BETWEEN)


@pytest.fixture
def items(tmp_path: Path) -> RowItems:
    row = json.dumps({"messages": [ASKED], "tools": [RAIN_TOOL], "answer": "no"})
    (tmp_path / "rows.jsonl").write_text(f"{row}\n{row}\n")
    with FileIO(tmp_path / "rows.jsonl") as content:
        return RowItems(content)


def begun(script: Script, items: RowItems, audited: bool = True) -> Answering:
    job = SimpleNamespace(id="job", project_id="project", spec=SPEC.model_dump(mode="json"))
    grading = JobGrading(cast(Any, script), cast(Any, job), lambda: None)
    sampler = AnswerSampler(cast(Any, script), cast(Any, None), OBJECTIVE, grading)
    return sampler.begin(prompts(2), items, COUNT, seed=5, audited=audited)


def never() -> bool:
    return False


def graded(
    script: Script, items: RowItems, failing: Collection[int], audited: bool = True
) -> list[GradedAnswer]:
    answering = begun(script, items, audited)
    answering.advance(never)
    script.call(failing)
    answering.advance(never)
    script.grade()
    assert answering.advance(never)
    return answering.result()


def asked(turns: Sequence[Turn]) -> list[tuple[list[int], int | None]]:
    return [(turn.before_L.tolist(), turn.asked.sampling.seed) for turn in turns]


def shown(found: Sequence[GradedAnswer]) -> list[Any]:
    """Return all that follows from the seed."""
    return [
        (one.answer.tokens.tolist(), one.answer.messages, one.answer.calls, one.grade, one.audit)
        for one in found
    ]


def test_a_second_turn_that_was_abandoned_is_sampled_again_behind_the_same_results(items: RowItems) -> None:
    script = Script()
    answering = begun(script, items)
    assert not answering.advance(never)
    assert not answering.advance(never), "it waits for the tools"
    assert len(script.turns) == 1
    script.call()
    for _ in range(2):
        with pytest.raises(Abandoned):
            answering.advance(lambda: True)
    assert not answering.advance(never)
    script.grade()
    assert answering.advance(never)

    _, *second = map(asked, script.turns)
    assert second == [second[0]] * 3
    assert len(script.calls) == len({call.id for call in script.calls}) == 2 * COUNT, "each is made once"
    found = answering.result()
    assert all(one.answer.tokens[one.answer.given].tolist() == BETWEEN for one in found)
    assert [one.answer.messages[1]["content"] for one in found] == [
        f"output of {call.id}" for call in script.calls
    ]
    assert shown(found) == shown(graded(Script(), items, failing=()))


def test_a_first_turn_that_was_abandoned_has_called_nothing(items: RowItems) -> None:
    script = Script()
    answering = begun(script, items)
    with pytest.raises(Abandoned):
        answering.advance(lambda: True)
    assert script.orders == []
    assert not answering.advance(never)
    assert asked(script.turns[0]) == asked(script.turns[1])
    assert len(script.calls) == 2 * COUNT


@pytest.mark.parametrize("audited", [True, False])
@pytest.mark.parametrize("failing", [{1}, {0, 2}, {3}, {0, 1, 2, 3}])
def test_each_answer_has_its_own_grades_though_tools_of_others_have_failed(
    items: RowItems, failing: set[int], audited: bool
) -> None:
    script = Script()
    found = graded(script, items, failing, audited)
    for number, one in enumerate(found):
        if number in failing:
            failed = Graded(0.0, TOOL_FAULT, FAILURE)
            assert (one.grade, one.audit) == (failed, failed if audited else None)
            assert (one.reward, one.answer.tool_error) == (None, FAILURE)
        else:
            assert one.grade == Graded(float(number))
            assert one.audit == (Graded(number + 0.5) if audited else None)
    second = [turn.line for turn in script.turns[1]] if len(script.turns) > 1 else []
    assert second == [line for number, line in enumerate([1, 1, 2, 2]) if number not in failing]
