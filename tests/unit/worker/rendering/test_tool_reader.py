"""Calls of tools are found in an answer, however its text is cut into pieces."""

import json

import pytest

from worker.rendering.tool_forms import LLAMA, PLAIN, TAGGED, Call, ToolForm, form_of
from worker.rendering.tool_reader import Found, ToolReader

NAMES = frozenset({"paint", "mix"})
PAINT = '{"name": "paint", "arguments": {"colour": "red"}}'
MIX = '{"name": "mix", "arguments": {}}'
PAINTED, MIXED = Call("paint", '{"colour": "red"}'), Call("mix", "{}")


def read(form: ToolForm, text: str, size: int, *, inside: bool = False) -> list[Found]:
    """Return what a reader finds in a text that comes in pieces of `size` characters, with texts joined."""
    reader = ToolReader(form, NAMES, inside=inside)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    joined: list[Found] = []
    for each in [*(found for piece in pieces for found in reader.read(piece)), *reader.end()]:
        if joined and isinstance(each, str) and isinstance(joined[-1], str):
            joined[-1] += each
        else:
            joined.append(each)
    return joined


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("form", "text", "found"),
    [
        (TAGGED, "Just text.", ["Just text."]),
        (TAGGED, f"<tool_call>\n{PAINT}\n</tool_call>", [PAINTED]),
        (
            TAGGED,
            f"Well.<tool_call>{PAINT}</tool_call>\n<tool_call>{MIX}</tool_call>",
            ["Well.", PAINTED, MIXED],
        ),
        (TAGGED, f"<tool_call>\n{PAINT}", [PAINTED]),
        (TAGGED, "a < b <tool", ["a < b <tool"]),
        (TAGGED, "<tool_call>no JSON</tool_call>", ["<tool_call>no JSON</tool_call>"]),
        (
            TAGGED,
            '<tool_call>{"name": "unknown"}</tool_call>',
            ['<tool_call>{"name": "unknown"}</tool_call>'],
        ),
        (LLAMA, '{"name": "paint", "parameters": {"colour": "red"}}', [PAINTED]),
        (LLAMA, f'{PAINT}; {{"name": "mix", "parameters": {{}}}}', [PAINTED, MIXED]),
        (LLAMA, '{"a": 1}', ['{"a": 1}']),
        (LLAMA, "Text {", ["Text {"]),
        (PLAIN, f" [{PAINT}, {MIX}]", [PAINTED, MIXED]),
        (PLAIN, '{"name": "paint", "arguments": {"col', ['{"name": "paint", "arguments": {"col']),
    ],
)
def test_text_and_calls_are_found_in_their_order(
    form: ToolForm, text: str, found: list[Found], size: int
) -> None:
    assert read(form, text, size) == found


@pytest.mark.parametrize("size", [1, 1000])
def test_an_answer_that_begins_within_a_call_is_one(size: int) -> None:
    assert read(TAGGED, PAINT, size, inside=True) == [PAINTED]
    assert read(TAGGED, f"{PAINT}</tool_call>", size, inside=True) == [PAINTED]
    assert read(TAGGED, '{"name": "pai', size, inside=True) == ['{"name": "pai']


def test_text_before_a_call_is_not_held_back() -> None:
    reader = ToolReader(TAGGED, NAMES)
    assert reader.read("Let me see. <to") == ["Let me see. "]
    assert reader.read("p of") == ["<top of"]


def test_arguments_are_json_as_openai_has_them() -> None:
    (call,) = read(TAGGED, '<tool_call>{"name": "paint", "arguments": {"ä": "ö"}}</tool_call>', 1000)
    assert isinstance(call, Call)
    assert json.loads(call.arguments) == {"ä": "ö"}
    assert read(TAGGED, '<tool_call>{"name": "mix"}</tool_call>', 1000) == [MIXED]


def test_the_chat_template_shows_the_form() -> None:
    assert form_of("… <tool_call> …") is TAGGED
    assert form_of("… <|python_tag|> …") is LLAMA
    assert form_of("… tools …") is PLAIN


@pytest.mark.parametrize(
    "text", ['{"name": ["paint"]}', '{"name": {"paint": 1}, "arguments": {}}', '{"name": null}']
)
def test_a_name_that_is_no_text_is_no_call(text: str) -> None:
    assert read(PLAIN, text, 1000) == [text]


def test_arguments_can_be_stored_and_never_nest_too_deeply() -> None:
    half = '{"name": "paint", "arguments": {"emoji": "\\ud83d"}}'
    (call,) = read(PLAIN, half, 1000)
    assert isinstance(call, Call)
    assert json.loads(call.arguments) == {"emoji": "\ufffd"}
    for depth in range(900, 1100):
        deep = f'{{"name": "mix", "arguments": {"[" * depth}{"]" * depth}}}'
        assert len(read(PLAIN, deep, 100_000)) == 1
