"""What a look at a row shows: which tokens are learnt under which template, the lengths, and refusals."""

from typing import Any

import pytest

from core.datasets.kinds import Kind
from core.serving.previews import RowPreview
from tests.fixtures.models.templates import CHAT, FAMILIES, bytes_with, template_of
from worker.dataset_checks.all_rows.columns import RowLengths
from worker.rendering.previews import lengths_of, preview_of
from worker.rendering.render import Rendering

CHATML, CHATML_TOKENS, _ = FAMILIES["chatml"]
PAIR = {
    "input": {"messages": CHAT[:3]},
    "preferred_output": [CHAT[3]],
    "non_preferred_output": [{"role": "assistant", "content": "Go!"}],
}


def looks(
    row: dict[str, Any],
    template: str = CHATML,
    special: tuple[str, ...] = CHATML_TOKENS,
    limit: int = 1000,
    kind: Kind = "chat",
) -> tuple[RowPreview, RowLengths]:
    rendering = Rendering(bytes_with(template, special), limit, None, kind)
    return preview_of(rendering, (7, row)), lengths_of(rendering, (7, row))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answers_of_each_family_are_learnt_with_the_token_that_ends_them(family: str) -> None:
    template, special, parts = FAMILIES[family]
    shown, lengths = looks({"messages": CHAT}, template, special)
    (conversation,) = shown.conversations
    assert [(part.text, part.weight) for part in conversation.segments] == list(parts)
    assert [part.learnt for part in conversation.segments] == [weight > 0 for _, weight in parts]
    tokens = [part.tokens for part in conversation.segments]
    assert tokens == [len(part.token_ids) for part in conversation.segments]
    assert conversation.tokens == sum(tokens) == lengths.tokens
    assert conversation.learnt_tokens == sum(part.tokens for part in conversation.segments if part.learnt)
    assert lengths == RowLengths(conversation.tokens, tokens[0], is_learnt=True)


def test_what_lies_behind_the_limit_is_counted_and_its_begin_is_shown() -> None:
    whole, _ = looks({"messages": CHAT})
    everything = "".join(part.text for part in whole.conversations[0].segments)
    shown, lengths = looks({"messages": CHAT}, limit=60)
    (conversation,) = shown.conversations
    assert shown.is_learnt is True
    assert (conversation.tokens, conversation.cut_tokens) == (60, whole.conversations[0].tokens - 60)
    assert "".join(part.text for part in conversation.segments) + conversation.cut_text == everything
    assert lengths.tokens == whole.conversations[0].tokens


def test_a_row_of_which_nothing_is_left_to_learn_is_shown_as_left_out() -> None:
    shown, lengths = looks({"messages": CHAT}, limit=20)
    assert (shown.is_learnt, shown.error) == (False, None)
    assert [part.learnt for part in shown.conversations[0].segments] == [False]
    assert (lengths.prompt_tokens, lengths.is_learnt) == (20, False)


def test_of_two_answers_both_are_shown_and_only_they_are_learnt() -> None:
    shown, lengths = looks(PAIR, kind="preference")
    learnt = [
        (each.desirable, [part.text for part in each.segments if part.learnt]) for each in shown.conversations
    ]
    assert learnt == [(True, ["See you.<|im_end|>"]), (False, ["Go!<|im_end|>"])]
    assert lengths.tokens == max(each.tokens for each in shown.conversations)


def test_a_refusal_of_the_template_leaves_the_place_of_the_row_to_whoever_shows_it() -> None:
    shown, lengths = looks({"messages": CHAT}, "{{ raise_exception('no users here') }}")
    assert shown.error is not None
    assert shown.conversations == []
    assert shown.error.message.startswith("The base model's chat template refuses the messages: ")
    assert "no users here" in shown.error.message
    assert shown.line == 7
    assert lengths.refusal == "t" + shown.error.message[1:]  # as other findings begin


def test_a_template_that_drops_parts_of_earlier_answers_is_refused() -> None:
    drops = template_of({"user": "<|im_start|>#", "assistant": "#<|im_end|>"}, "").replace(
        "{{ m.content }}<|im_end|>", "{{ m.content if loop.last else m.content[3:] }}<|im_end|>"
    )
    shown, _ = looks({"messages": CHAT}, drops)
    assert shown.error is not None
    assert "earlier turns differently" in shown.error.message
