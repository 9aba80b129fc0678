"""Rows with tools: what the template sees, which tokens are learnt, and templates without a place for it."""

from typing import Any

import numpy as np
import pytest

from core.datasets.kinds import Kind
from core.errors import JobError
from core.serving.schemas.chat import ChatRequest
from tests.fixtures.rows.rendering import make_tokenizer, render
from tests.fixtures.rows.tool_rows import (
    ASKED,
    HEADER_TEMPLATE,
    RAIN_TOOL,
    SAID,
    TAGGED_TEMPLATE,
    answer,
    call,
    calls,
    tool_row,
)
from worker.server.answering.prompts import chat_text

WITHOUT_TOOLS = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"


def marked(template: str, row: dict[str, Any], kind: Kind = "chat") -> list[str]:
    """Return the text of each conversation of a row, with its learnt parts in «these marks»."""
    tokenizer = make_tokenizer(template)
    found = []
    for rendered in render(tokenizer, row, kind=kind):
        edges = np.flatnonzero(np.diff(rendered.learnt_L, prepend=False, append=False))
        parts = np.split(rendered.tokens_L, edges)
        texts = [tokenizer.decode(part, clean_up_tokenization_spaces=False) for part in parts]
        found.append("".join(f"«{text}»" if place % 2 else text for place, text in enumerate(texts)))
    return found


DECLARED = (
    '{"type": "function", "function": {"name": "rain", "description": "Tell whether it rains.", '
    '"parameters": {"type": "object", '
    '"properties": {"place": {"type": "string"}, "days": {"type": "integer"}}, "required": ["place"]}}}'
)
TAGGED_HEAD = (
    f"<|im_start|>system\nTools:\n{DECLARED}<|im_end|>\n<|im_start|>user\nDoes it rain in Lima?<|im_end|>\n"
)
HEADER_HEAD = f"<|start|>user<|end|>\n\n{DECLARED}\nDoes it rain in Lima?<|eot|>"


def test_calls_between_marks_are_learnt_and_answers_of_tools_are_not() -> None:
    assert marked(TAGGED_TEMPLATE, tool_row()) == [
        f"{TAGGED_HEAD}<|im_start|>assistant\n"
        '«<tool_call>\n{"name": "rain", "arguments": {"place": "Lima"}}\n</tool_call><|im_end|>»\n'
        '<|im_start|>user\n<tool_response>\n{"rain": false}\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\n«No, it is dry.<|im_end|>»\n"
    ]


def test_several_calls_after_a_text_are_learnt_with_it() -> None:
    second = call('{"place": "Cusco", "days": 2}', id="call_2")
    row = tool_row(
        ASKED, calls(call(), second, content="I look."), answer("no"), answer("yes", "call_2"), SAID
    )
    assert marked(TAGGED_TEMPLATE, row) == [
        f"{TAGGED_HEAD}<|im_start|>assistant\n"
        '«I look.\n<tool_call>\n{"name": "rain", "arguments": {"place": "Lima"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "rain", "arguments": {"place": "Cusco", "days": 2}}\n</tool_call><|im_end|>»\n'
        "<|im_start|>user\n<tool_response>\nno\n</tool_response>\n"
        "<tool_response>\nyes\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n«No, it is dry.<|im_end|>»\n"
    ]


def test_a_call_that_is_the_whole_answer_is_learnt() -> None:
    assert marked(HEADER_TEMPLATE, tool_row()) == [
        f"{HEADER_HEAD}<|start|>assistant<|end|>\n\n"
        '«{"name": "rain", "parameters": {"place": "Lima"}}<|eot|>»'
        '<|start|>ipython<|end|>\n\n"{\\"rain\\": false}"<|eot|>'
        "<|start|>assistant<|end|>\n\n«No, it is dry.<|eot|>»"
    ]


def test_a_weight_of_0_leaves_a_call_out_and_a_smaller_weight_counts_for_it() -> None:
    row = tool_row(ASKED, calls(weight=0), answer(), SAID)
    assert marked(HEADER_TEMPLATE, row)[0].count("«") == 1
    (rendered,) = render(
        make_tokenizer(HEADER_TEMPLATE), tool_row(ASKED, calls(weight=0.5), answer(), {**SAID, "weight": 0})
    )
    assert rendered.weights_L is not None
    assert set(rendered.weights_L[rendered.learnt_L]) == {0.5}
    assert rendered.supervised == len('{"name": "rain", "parameters": {"place": "Lima"}}<|eot|>')


@pytest.mark.parametrize("inside", [True, False])
def test_of_two_answers_the_calls_are_learnt(inside: bool) -> None:
    tools = {"tools": [RAIN_TOOL]}
    asked = {"input": {"messages": [ASKED], **(tools if inside else {})}, **({} if inside else tools)}
    row = {**asked, "preferred_output": [calls()], "non_preferred_output": [SAID]}
    assert marked(TAGGED_TEMPLATE, row, "preference") == [
        f"{TAGGED_HEAD}<|im_start|>assistant\n"
        '«<tool_call>\n{"name": "rain", "arguments": {"place": "Lima"}}\n</tool_call><|im_end|>»\n',
        f"{TAGGED_HEAD}<|im_start|>assistant\n«No, it is dry.<|im_end|>»\n",
    ]


def test_of_a_labelled_answer_the_call_is_learnt_and_earlier_calls_are_not() -> None:
    row = tool_row(ASKED, calls(), answer(), ASKED, calls(call(id="call_2")), label=True)
    (text,) = marked(HEADER_TEMPLATE, row, "labelled")
    assert text.endswith('«{"name": "rain", "parameters": {"place": "Lima"}}<|eot|>»')
    assert text.count("«") == 1


def test_a_reasoning_is_learnt_with_its_answer() -> None:
    row = {"messages": [ASKED, {**SAID, "reasoning_content": "Lima is a desert."}]}
    assert marked(TAGGED_TEMPLATE, row) == [
        "<|im_start|>user\nDoes it rain in Lima?<|im_end|>\n"
        "<|im_start|>assistant\n«<think>Lima is a desert.</think>\nNo, it is dry.<|im_end|>»\n"
    ]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (tool_row(ASKED, SAID), "chat_template_without_tools"),
        ({"messages": [ASKED, calls()]}, "chat_template_without_tools"),
        ({"messages": [ASKED, {**SAID, "reasoning_content": "x"}]}, "chat_template_without_reasoning"),
    ],
)
def test_a_template_without_a_place_for_what_a_row_holds_fails_the_job_with_its_line(
    row: dict[str, Any], code: str
) -> None:
    with pytest.raises(JobError, match=r"^Line 7 of the training file has .* has no place for it") as raised:
        render(make_tokenizer(WITHOUT_TOOLS), row)
    assert (raised.value.code, raised.value.param) == (code, "training_file")


def test_a_template_that_takes_one_call_at_once_refuses_two_with_the_line() -> None:
    row = tool_row(ASKED, calls(call(), call(id="call_2")))
    with pytest.raises(JobError, match=r"Line 7: .*only one call at once"):
        render(make_tokenizer(HEADER_TEMPLATE), row)


@pytest.mark.parametrize("template", [TAGGED_TEMPLATE, HEADER_TEMPLATE])
def test_a_server_asks_with_the_text_that_was_trained(template: str) -> None:
    row = tool_row(ASKED, calls(content=None), answer(), SAID)
    declared = {"function": dict(reversed(RAIN_TOOL["function"].items())), "type": "function"}
    (trained,) = marked(template, {**row, "tools": [declared]})
    request = ChatRequest(model="x", messages=row["messages"][:-1], tools=row["tools"])
    asked, _ = chat_text(make_tokenizer(template), request)
    assert trained.replace("«", "").replace("»", "").startswith(asked)
