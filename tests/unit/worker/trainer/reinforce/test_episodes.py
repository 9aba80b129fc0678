"""An answer of several turns: what the model wrote is kept apart from what tools returned."""

import numpy as np
import pytest

from worker.engine.sampler.rollouts import Generation, Sampled
from worker.grading.tool_results import ToolResults
from worker.rendering.tool_forms import TAGGED
from worker.rows.row import Row
from worker.trainer.reinforce.episodes import MOST_CALLS, Episode, ToolUse

PROMPT = Row(7, np.array([1, 2, 3], np.int32), np.zeros(3, np.bool_))
GENERATION = Generation(count=2, max_tokens=20, seed=5)
CALL = 'Let me look.<tool_call>{"name": "clock", "arguments": {"zone": "UTC"}}</tool_call>'
OTHER_CALL = '<tool_call>{"name": "map", "arguments": {}}</tool_call>'
NOON = ToolResults([{"role": "tool", "tool_call_id": "1", "content": "12:00"}], [8, 9])


def turn(text: str, *tokens: int, finished: bool = True) -> Sampled:
    size = len(tokens)
    logprobs, forced = np.full(size, -1.5, np.float32), np.zeros(size, np.bool_)
    return Sampled(7, PROMPT.tokens_L, np.array(tokens, np.int32), logprobs, forced, text, finished)


def episode(max_turns: int = 10) -> Episode:
    use = ToolUse(TAGGED, frozenset({"clock"}), max_turns)
    return Episode(PROMPT, 1, frozenset({"clock", "map"}), use)


def test_an_answer_goes_on_behind_what_its_tools_returned() -> None:
    found = episode()
    first = found.next_turn(GENERATION)
    found.add(turn(CALL, 4, 5, 6), seed=5)
    assert (found.needs_turn, found.end_token) == (False, 6)
    (call,) = found.waits_for
    assert (call.name, call.arguments) == ("clock", '{"zone": "UTC"}')
    found.take(NOON, most=20)
    second = found.next_turn(GENERATION)
    assert second.before_L.tolist() == [1, 2, 3, 4, 5, 6, 8, 9]
    assert (first.asked.sampling.max_tokens, second.asked.sampling.max_tokens) == (20, 15)
    assert first.asked.sampling.seed != second.asked.sampling.seed
    found.add(turn("It is noon.", 7, 6), seed=5)
    assert found.is_over

    whole = found.answer()
    assert whole.tokens.tolist() == [4, 5, 6, 8, 9, 7, 6]
    assert whole.given.tolist() == whole.forced.tolist() == [False] * 3 + [True] * 2 + [False] * 2
    assert whole.logprobs.tolist() == [-1.5] * 3 + [0.0] * 2 + [-1.5] * 2
    assert whole.written.tolist() == [4, 5, 6, 7, 6]
    assert whole.finished
    assert (whole.sample.text, whole.sample.calls) == ("It is noon.", (call,))
    assert [message["role"] for message in whole.messages] == ["assistant", "tool", "assistant"]
    assert whole.messages[0]["content"] == "Let me look."
    assert whole.messages[1]["content"] == "12:00"


def test_calls_have_the_same_ids_when_they_are_sampled_again() -> None:
    ids = []
    for seed in (5, 5, 6):
        found = episode()
        found.add(turn(CALL * 2, 4), seed)
        ids += [call.id for call in found.waits_for]
    assert ids[:2] == ids[2:4]
    assert len(set(ids)) == 4


@pytest.mark.parametrize("text", [OTHER_CALL, CALL + OTHER_CALL])
def test_a_call_that_nobody_answers_ends_the_answer_and_is_shown_to_graders(text: str) -> None:
    found = episode()
    found.add(turn(text, 4, 6), seed=5)
    assert found.is_over
    whole = found.answer()
    assert whole.finished
    assert whole.sample.calls[-1].name == "map"


def test_an_answer_is_cut_at_its_most_turns() -> None:
    found = episode(max_turns=2)
    found.add(turn(CALL, 4, 6), seed=5)
    found.take(NOON, most=20)
    found.add(turn(CALL, 4, 6), seed=5)
    assert found.is_over
    assert not found.answer().finished
    assert len(found.answer().calls) == 2


def test_a_turn_with_too_many_calls_is_cut_and_calls_nothing() -> None:
    found = episode()
    found.add(turn(CALL * (MOST_CALLS + 1), 4, 6), seed=5)
    assert found.is_over
    assert not found.answer().finished


def test_an_answer_is_cut_where_results_leave_no_room() -> None:
    found = episode()
    found.add(turn(CALL, 4, 6), seed=5)
    found.take(NOON, most=4)
    assert found.is_over
    assert found.answer().tokens.tolist() == [4, 6]
    assert not found.answer().finished


def test_a_turn_that_was_cut_off_calls_nothing() -> None:
    found = episode()
    found.add(turn(CALL, 4, 5, finished=False), seed=5)
    assert found.is_over
    assert not found.answer().finished


def test_a_tool_that_fails_ends_the_answer_with_its_reason() -> None:
    found = episode()
    found.add(turn(CALL, 4, 6), seed=5)
    found.take(ToolResults(error="The tool 'clock' gave no output: it answered 500."), most=20)
    assert found.is_over
    assert found.answer().tool_error == "The tool 'clock' gave no output: it answered 500."


def test_marks_of_calls_are_text_where_the_row_declares_no_tool() -> None:
    found = Episode(PROMPT, 0, frozenset(), ToolUse(TAGGED, frozenset({"clock"})))
    found.add(turn(CALL, 4, 6), seed=5)
    assert (found.answer().text, found.answer().calls) == (CALL, ())
