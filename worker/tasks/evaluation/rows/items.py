"""Makes items of rows, and keeps them on the disk: a data source may be larger than the memory.

An item is what templates see. A line `{"item": …}` gives it as it is. A row of a training file with answers
is an item with two more fields: `input`, the messages before the last answer, and `reference`, the text of
that answer. Such a row is also kept as a conversation, which is rendered as in training. A prompt without an
answer is an item with its messages as `input`, unless it has a key of this name.
"""

import json
import os
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.datasets.chat_rules import content_text
from core.datasets.kinds import Kind, is_unanswered, kind_of
from core.datasets.labelled_rules import labelled
from core.datasets.preference_rules import pair
from core.datasets.row_check import RULES
from core.datasets.tool_rules import tools_of
from core.errors import JobError
from core.evals.data_sources import item_and_sample
from worker.rendering.disk_space import require_disk_space
from worker.rows.nameless_file import nameless_file

PARAM = "data_source"  # the field of the request that named the rows
MAX_DEPTH = 64
LOOK_BYTES = 16 * 1024**2  # that are written between two looks at the disk
NOT_TRAINING = "it has none of the fields of a row of a training file, such as 'messages'"
WITHOUT_ANSWER = "it is a prompt without an answer"

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Item:
    """One row. `line` is its number in its file, from 1, and `sample` the answer that the row came with.

    `conversation` has the messages of a row of a training file, with their weights, and `tools` what the row
    declares. For other rows, `no_row` says why they have none. `prompt` has the messages of a prompt without
    an answer.
    """

    line: int
    item: dict[str, Any]
    sample: dict[str, Any] | None = None
    conversation: Messages | None = None
    tools: Messages | None = None
    no_row: str | None = None
    prompt: Messages | None = None


def item_of(line: int, row: Any, beside: Mapping[str, Any] | None = None) -> Item:
    """Return the item of a row, with the fields `beside` that it lacks. Raises JobError if there is none."""
    if not isinstance(row, dict):
        raise invalid(line, "a row must be a JSON object")
    _require_plain(line, row)
    item, sample = item_and_sample(row)
    if not isinstance(sample, dict | None):
        raise invalid(line, "'sample' must be a JSON object")
    found = _with_answer(line, item, sample)
    return replace(found, item={**(beside or {}), **found.item})


def invalid(line: int, reason: str) -> JobError:
    """Return the error for a line that makes the whole data source unusable."""
    return JobError("invalid_row", f"Line {line}: {reason}.", PARAM)


def _with_answer(line: int, item: dict[str, Any], sample: dict[str, Any] | None) -> Item:
    """Add `input` and `reference` to the row of a training file. Other items stay as they are."""
    kind: Kind | None = "prompt" if is_unanswered(item) else kind_of(item)
    if kind is None:
        return Item(line, item, sample, no_row=NOT_TRAINING)
    finding = next(RULES[kind](item), None)
    if finding is not None:
        return Item(line, item, sample, no_row=f"{finding.field}: {finding.message}".removeprefix(": "))
    match kind:
        case "prompt":
            asked = item["messages"]
            return Item(line, {"input": asked, **item}, sample, no_row=WITHOUT_ANSWER, prompt=asked)
        case "chat":
            prompt, answer = item["messages"][:-1], item["messages"][-1]
            conversation = item["messages"]
        case "preference":
            prompt, answer, _ = pair(item)
            conversation = [*({**message, "weight": 0} for message in prompt), answer]
        case "labelled":
            prompt, answer, _ = labelled(item)
            conversation = [*({**message, "weight": 0} for message in prompt), answer]
    asked = [{key: value for key, value in message.items() if key != "weight"} for message in prompt]
    more = {"input": asked, "reference": content_text(answer.get("content"))}
    return Item(line, {**item, **more}, sample, conversation, tools_of(item))


def _require_plain(line: int, row: dict[str, Any]) -> None:
    """Raise JobError if a record of the row could not be written and read again."""
    _require_shallow(line, row)
    try:
        json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise invalid(line, "the row has half of a surrogate pair, such as \\ud800; remove it") from error
    except ValueError as error:
        raise invalid(line, "the row has a number that is too large; write it as a text") from error


def _require_shallow(line: int, value: Any) -> None:
    """Raise JobError if the value is nested deeper than MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise invalid(line, f"the row is nested deeper than {MAX_DEPTH} levels; flatten it")


class Items:
    """The items of a run's records, in their order, in a file without a name.

    `samples` records that follow each other have the same item.
    """

    def __init__(self, folder: Path, samples: int = 1, look_bytes: int = LOOK_BYTES) -> None:
        self.samples, self._look_bytes = samples, look_bytes
        self._folder, self._file = folder, nameless_file(folder)
        self._ends = array("q", [0])
        self._looked_up_to = 0

    def add(self, item: Item) -> None:
        """Append the item. Raises OutsideFault if the disk is nearly full."""
        self._look_at_the_disk()
        content = json.dumps(asdict(item), ensure_ascii=False).encode()
        self._file.write(content)
        self._ends.append(self._ends[-1] + len(content))

    def _look_at_the_disk(self) -> None:
        """Look at the first item, and again after each `look_bytes`."""
        if self._ends[-1] >= self._looked_up_to:
            require_disk_space(self._folder, PARAM)
            self._looked_up_to = self._ends[-1] + self._look_bytes

    def __len__(self) -> int:
        return self.samples * (len(self._ends) - 1)

    def __getitem__(self, index: int) -> Item:
        row = index // self.samples
        start, end = self._ends[row], self._ends[row + 1]
        return Item(**json.loads(os.pread(self._file.fileno(), end - start, start)))

    def close(self) -> None:
        self._file.close()
