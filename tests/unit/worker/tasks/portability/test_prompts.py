"""The prompts of a measurement: from a file of any kind, else the general ones."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from core.storage.object_store import ObjectStore
from core.tables import File
from worker.tasks.portability.prompts import COUNT, GENERAL, Messages, prompts_for, rows_of

KEY = "files/1"
USER = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Hi"}
KINDS: dict[str, dict[str, Any]] = {
    "chat": {"messages": [USER, ANSWER]},
    "preference": {
        "input": {"messages": [USER]},
        "preferred_output": [ANSWER],
        "non_preferred_output": [ANSWER],
    },
    "labelled": {"prompt": [USER], "completion": [ANSWER], "label": True},
    "prompt": {"messages": [USER], "answer": "Hi"},
}


class Stored:
    """The bytes of one file, in small chunks, as a store gives them."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.content = "\n".join(map(json.dumps, rows)).encode()

    def read(self, key: str) -> Iterator[bytes]:
        assert key == KEY
        return (self.content[at : at + 10] for at in range(0, len(self.content), 10))


def rows(*stored: dict[str, Any]) -> list[Messages]:
    return rows_of(cast(ObjectStore, Stored(*stored)), File(id="file-1", object_key=KEY))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_each_kind_gives_the_messages_before_its_answer(kind: str) -> None:
    assert rows(KINDS[kind], KINDS[kind]) == [[USER], [USER]]


def test_the_last_answer_of_a_conversation_is_asked_for() -> None:
    developer = {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}
    assert rows({"messages": [developer, USER, ANSWER, USER, ANSWER, USER]}) == [
        [{"role": "system", "content": "Be brief."}, USER, ANSWER, USER]
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": []}, USER, ANSWER]},
        {"messages": [USER, ANSWER], "tools": [{"type": "function"}]},
        {"messages": [ANSWER]},
    ],
)
def test_a_row_that_is_no_plain_conversation_is_left_out(row: dict[str, Any]) -> None:
    assert rows(row) == []


def test_a_deleted_file_or_none_gives_no_rows() -> None:
    store = cast(ObjectStore, Stored(KINDS["chat"]))
    assert rows_of(store, None) == []
    assert rows_of(store, File(id="file-1", object_key=KEY, deleted_at=datetime.now(UTC))) == []


def test_long_rows_are_left_out_and_the_first_twenty_others_are_taken(tokenizer: Any) -> None:
    long = [{"role": "user", "content": "word " * 1000}]
    found = prompts_for(tokenizer, 512, [long, *([USER] for _ in range(30))])
    assert (found.of_rows, len(found.tokens), found.chats) == (COUNT, COUNT, [[USER]] * COUNT)


def test_a_short_file_is_filled_up_to_twenty_with_general_prompts(tokenizer: Any) -> None:
    found = prompts_for(tokenizer, 512, [[USER]] * 3)
    assert found.chats is not None
    asked = [chat[-1]["content"] for chat in found.chats]
    assert (found.of_rows, len(found.tokens)) == (3, COUNT)
    assert asked == ["Hello"] * 3 + list(GENERAL[: COUNT - 3])


def test_the_general_prompts_are_asked_without_a_row_that_fits(tokenizer: Any) -> None:
    found = prompts_for(tokenizer, 512, [])
    assert (found.of_rows, len(found.tokens), len(GENERAL)) == (0, COUNT, COUNT)
    assert found.chats is not None
    assert tokenizer.decode(found.tokens[0]).endswith("<|im_start|>assistant\n")


def test_rows_that_the_template_refuses_are_left_out(tokenizer: Any) -> None:
    system = [{"role": "system", "content": "Be brief."}, USER]
    before = tokenizer.chat_template
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + before
    )
    try:
        found = prompts_for(tokenizer, 512, [system, [USER]])
    finally:
        tokenizer.chat_template = before
    assert (found.of_rows, (found.chats or [])[0]) == (1, [USER])


def test_a_model_without_a_template_gets_the_texts_themselves(tokenizer: Any) -> None:
    before, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        found = prompts_for(tokenizer, 512, [[USER]])
    finally:
        tokenizer.chat_template = before
    assert (found.of_rows, found.chats, len(found.tokens)) == (0, None, COUNT)


def test_a_template_that_refuses_everything_is_left_out(tokenizer: Any) -> None:
    before, tokenizer.chat_template = tokenizer.chat_template, "{{ raise_exception('no') }}"
    try:
        found = prompts_for(tokenizer, 512, [[USER]])
    finally:
        tokenizer.chat_template = before
    assert (found.of_rows, found.chats, len(found.tokens)) == (0, None, COUNT)
    assert all(found.tokens)
