"""The tokens between two turns: with what was sampled, they are the conversation as the template has it."""

from typing import Any

import pytest

from core.errors import JobError
from tests.fixtures.models.tiny import text
from tests.fixtures.rows.tool_rows import (
    ASKED,
    HEADER_TEMPLATE,
    RAIN_TOOL,
    TAGGED_TEMPLATE,
    answer,
    call,
    calls,
)
from worker.rendering.row_template import RowTemplate, plain
from worker.rendering.tool_results import tokens_after_calls

ROW = {"messages": [ASKED], "tools": [RAIN_TOOL], "answer": "no"}
TAGGED_TURN = '<tool_call>\n{"name": "rain", "arguments": {"place": "Lima"}}\n</tool_call>'
HEADER_TURN = '{"name": "rain", "parameters": {"place": "Lima"}}'


def tokenizer_with(template: str, end: str) -> tuple[Any, int]:
    """Return a tokenizer that has this special token, and its number."""
    found = text()
    found.chat_template = template
    found.add_special_tokens({"additional_special_tokens": [end]})
    return found, found.convert_tokens_to_ids(end)


@pytest.mark.parametrize(
    ("template", "end", "turn"),
    [(TAGGED_TEMPLATE, "<|im_end|>", TAGGED_TURN), (HEADER_TEMPLATE, "<|eot|>", HEADER_TURN)],
)
def test_an_answer_that_goes_on_has_the_tokens_of_the_whole_conversation(
    template: str, end: str, turn: str
) -> None:
    tokenizer, end_token = tokenizer_with(template, end)
    so_far: list[dict[str, Any]] = []
    row = RowTemplate(tokenizer, ROW)
    tokens = row.apply_chat_template([plain(ASKED)], tokenize=False, add_generation_prompt=True)
    written = row(tokens, add_special_tokens=False)["input_ids"]
    for number in ("1", "2"):
        so_far += [calls(call(id=number)), answer(id=number)]
        between = tokens_after_calls(tokenizer, ROW, so_far, end_token)
        written += [*row(turn, add_special_tokens=False)["input_ids"], end_token, *between]
    whole = [plain(message) for message in (ASKED, *so_far)]
    expected = row.apply_chat_template(whole, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(written) == expected
    assert written == row(expected, add_special_tokens=False)["input_ids"]


def test_what_the_model_wrote_is_not_rendered_again() -> None:
    """Arguments that are no JSON, and an end token that the template does not write, change nothing."""
    tokenizer, other_end = tokenizer_with(TAGGED_TEMPLATE, "<|done|>")
    odd = tokens_after_calls(tokenizer, ROW, [calls(call(arguments="{place: Lima")), answer()], other_end)
    assert tokenizer.decode(odd) == (
        '<|im_start|>user\n<tool_response>\n{"rain": false}\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\n"
    )


THINKING_TEMPLATE = TAGGED_TEMPLATE.replace(
    "{{ message.content }}",
    "{% if loop.last and message.role == 'assistant' %}<think>\n\n</think>{% endif %}{{ message.content }}",
)
ITEMS_TEMPLATE = TAGGED_TEMPLATE.replace(
    "{{ call.function.arguments | tojson }}",
    "{% for name, value in call.function.arguments | items %}{{ name }}={{ value }}{% endfor %}",
)


@pytest.mark.parametrize("template", [THINKING_TEMPLATE, ITEMS_TEMPLATE])
@pytest.mark.parametrize("arguments", ['{"place": "Lima"}', "Lima", '"Lima"', "[1]"])
def test_how_a_template_writes_the_turn_itself_does_not_matter(template: str, arguments: str) -> None:
    """Some add an empty reasoning to the last turn alone, and some take no arguments but objects."""
    tokenizer, end_token = tokenizer_with(template, "<|im_end|>")
    so_far = [
        calls(call(arguments=arguments)),
        answer("dry"),
        calls(call(arguments=arguments)),
        answer("wet"),
    ]
    assert tokenizer.decode(tokens_after_calls(tokenizer, ROW, so_far, end_token)) == (
        "\n<|im_start|>user\n<tool_response>\nwet\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_several_results_of_one_turn_follow_each_other() -> None:
    tokenizer, end_token = tokenizer_with(TAGGED_TEMPLATE, "<|im_end|>")
    so_far = [calls(call(), call(id="call_2")), answer("dry"), answer("wet", id="call_2")]
    assert tokenizer.decode(tokens_after_calls(tokenizer, ROW, so_far, end_token)) == (
        "\n<|im_start|>user\n<tool_response>\ndry\n</tool_response>\n<tool_response>\nwet\n</tool_response>"
        "<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            "{{ messages | length }}{% for message in messages %}{{ message.content }}{% endfor %}",
            "renders earlier turns differently",
        ),
        (
            "{% for message in messages %}{{ message.content }}"
            "{% if message.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}{% endfor %}",
            "no tools here",
        ),
    ],
)
def test_a_template_that_takes_no_results_is_named(template: str, reason: str) -> None:
    tokenizer, end_token = tokenizer_with(template, "<|eot|>")
    with pytest.raises(JobError, match=reason):
        tokens_after_calls(tokenizer, ROW, [calls(), answer()], end_token)
