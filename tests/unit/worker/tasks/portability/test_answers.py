"""How answers are compared: equal tokens, near ties, and answers that are other ones."""

import math

import pytest

from worker.tasks.portability.answers import Answer, Answered, compare, difference

CHAT = [1, 2, 3]


def answer(*tokens: int, logprob: float = -0.5, second: float = -1.5) -> Answer:
    """Return an answer whose likeliest token at each place is the given one, before the token 99."""
    return Answer(list(tokens), [{token: logprob, 99: second} for token in (*tokens, 99)])


def answered(*answers: Answer, chat: list[int] | None = CHAT) -> Answered:
    return Answered(list(answers), None if chat is None else [chat])


def test_equal_answers_have_no_difference() -> None:
    figures = compare(answered(answer(5, 6)), answered(answer(5, 6, logprob=-0.5004)))
    assert (figures.greedy_equal, figures.prompts, figures.template_tokens_equal) == (1, 1, True)
    assert figures.max_logprob_difference == pytest.approx(0.0004)
    assert figures.first_difference is None
    assert difference(figures) is None


@pytest.mark.parametrize(("apart", "alike"), [(0.04, True), (0.06, False)])
def test_answers_may_part_only_where_both_give_the_tokens_nearly_the_same_chance(
    apart: float, alike: bool
) -> None:
    ours = Answer([5, 6], [{5: -0.1}, {6: -0.7, 7: -0.71}, {}])
    found = Answer([5, 7], [{5: -0.1}, {6: -0.7 - apart, 7: -0.71 + apart / 2}, {}])
    figures = compare(answered(ours), answered(found))
    assert figures.greedy_equal == 0
    assert figures.first_difference == pytest.approx(apart)
    assert (difference(figures) is None) == alike


def test_one_of_twenty_answers_may_differ() -> None:
    ours = [answer(5)] * 20
    one, two = [answer(6), *ours[1:]], [answer(6), answer(6), *ours[2:]]
    assert difference(compare(answered(*ours), answered(*one))) is None
    assert difference(compare(answered(*ours), answered(*two))) == "18 of 20 greedy answers are equal."


def test_an_answer_that_goes_on_behind_the_end_of_ours_differs() -> None:
    figures = compare(answered(answer(5)), answered(answer(5, 6)))
    assert figures.greedy_equal == 0
    assert difference(figures) is not None


def test_an_answer_ends_before_the_first_token_that_ends_it() -> None:
    cut = Answer.cut([5, 2, 7], [{5: 0.0}, {2: 0.0}, {7: 0.0}], ends={2})
    assert cut == Answer([5], [{5: 0.0}, {2: 0.0}])


def test_other_tokens_of_a_chat_are_a_difference_whatever_the_answers_are() -> None:
    figures = compare(answered(answer(5)), answered(answer(5), chat=[1, 2]))
    assert figures.template_tokens_equal is False
    assert "renders chats" in str(difference(figures))


def test_a_model_without_a_template_has_no_chats_to_compare() -> None:
    figures = compare(answered(answer(5), chat=None), answered(answer(5), chat=None))
    assert figures.template_tokens_equal is None
    assert difference(figures) is None


def test_a_token_that_a_runtime_does_not_list_counts_as_its_least_likely_one() -> None:
    ours, found = Answer([5], [{5: -0.1, 8: -1.0}]), Answer([5], [{5: -0.1, 9: -4.0}])
    figures = compare(answered(ours), answered(found))
    assert figures.max_logprob_difference == pytest.approx(3.0)
    assert math.isfinite(figures.max_logprob_difference or math.inf)
