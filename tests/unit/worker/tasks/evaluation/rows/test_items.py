"""The items of a run are kept on the disk as they are, and leave room on it."""

from pathlib import Path
from typing import Any

import pytest

from core.errors import OutsideFault
from worker.tasks.evaluation.prompts import prompt_of
from worker.tasks.evaluation.rows.items import Items, item_of


def test_items_are_read_as_they_were_added_and_take_few_bytes(tmp_path: Path) -> None:
    items, text = Items(tmp_path), "здравствуй\u2028мир" * 100
    added = [item_of(line, {"text": text}) for line in (1, 2)]
    for item in added:
        items.add(item)
    assert [items[index] for index in range(len(items))] == added
    assert items._ends[-1] < 2.2 * len(text.encode())


def test_items_stop_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = Items(tmp_path, look_bytes=1)
    items.add(item_of(1, {"text": "x"}))
    monkeypatch.setattr("worker.rendering.disk_space.FREE_BYTES", 2**60)
    with pytest.raises(OutsideFault, match="disk is too full to read the data source"):
        items.add(item_of(2, {"text": "y"}))


USER = {"role": "user", "content": "2 + 3"}
ANSWER = {"role": "assistant", "content": "5"}


@pytest.mark.parametrize("more", [{}, {"sum": 5}, {"label": True}])
@pytest.mark.parametrize("messages", [[USER], [USER, ANSWER, USER]])
def test_a_prompt_is_an_item_with_its_messages_as_input_and_no_reference(
    messages: list[Any], more: dict[str, Any]
) -> None:
    row = {"messages": messages, **more}
    found = item_of(3, row)
    assert found.item == {**row, "input": messages}
    assert prompt_of(None, found.item, found.prompt) == messages
    assert (found.conversation, found.no_row) == (None, "it is a prompt without an answer")


def test_a_prompt_keeps_its_own_input_and_reference_and_is_asked_by_its_messages() -> None:
    row = {"messages": [USER], "input": "two numbers", "reference": "5"}
    found = item_of(3, row)
    assert found.item == row
    assert prompt_of(None, found.item, found.prompt) == [USER]


def test_a_wrong_prompt_is_no_row() -> None:
    found = item_of(3, {"messages": [{"role": "usr", "content": "x"}, USER]})
    assert (found.item, found.prompt) == ({"messages": [{"role": "usr", "content": "x"}, USER]}, None)
    assert found.no_row is not None
    assert found.no_row.startswith("messages[0].role: unknown role")
