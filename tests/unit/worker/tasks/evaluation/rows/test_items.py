"""The items of a run are kept on the disk as they are, and leave room on it."""

from pathlib import Path

import pytest

from core.errors import OutsideFault
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
