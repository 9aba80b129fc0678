"""Turns stored completions into the rows of a dataset, one at a time."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from api.stored_completions.queries import Rated
from core.datasets.chat_rules import MESSAGE_KEYS
from core.datasets.common_rules import ABSENT
from core.datasets.kinds import Kind
from core.datasets.row_check import RULES, line_findings
from core.datasets.tool_rules import TOOL_KEYS
from core.tables import StoredCompletion

Message = dict[str, Any]
Row = dict[str, Any]


class Tally:
    """Counts the completions that were read, the rows that they became, and why others were left out."""

    def __init__(self) -> None:
        self.completions = self.rows = 0
        self.left_out: Counter[str] = Counter()


class Example(NamedTuple):
    """What a completion holds for a dataset. An answer that was cut off by a limit of tokens is None."""

    prompt: list[Message]
    tools: dict[str, Any]
    answer: Message | None
    corrected: Message | None
    rating: str | None
    liked: Message | None
    """An answer to the same messages that was rated up, for an answer that was rated down"""


def lines_of(kind: Kind, rated: Rated, tally: Tally, max_bytes: int) -> Iterator[bytes]:
    """Yield the lines that the completion becomes. A line that the dataset check would refuse is left out."""
    tally.completions += 1
    example = _example(rated)
    rows = list(ROWS[kind](example))
    if not rows:
        tally.left_out["cut_off" if example.answer is None else "rating"] += 1
    for row in rows:
        line = json.dumps({**row, **example.tools}, ensure_ascii=False).encode()
        findings = line_findings(line, RULES[kind])
        if findings or len(line) > max_bytes:
            tally.left_out[findings[0].code if findings else "row_too_long"] += 1
        else:
            tally.rows += 1
            yield line + b"\n"


def _chat(example: Example) -> Iterator[Row]:
    best = example.corrected or (None if example.rating == "down" else example.answer)
    if best is not None:
        yield {"messages": [*example.prompt, best]}


def _preference(example: Example) -> Iterator[Row]:
    better, worse = example.corrected or example.liked, example.answer
    if better is not None and worse is not None and better != worse:
        yield {
            "input": {"messages": example.prompt},
            "preferred_output": [better],
            "non_preferred_output": [worse],
        }


def _labelled(example: Example) -> Iterator[Row]:
    if example.corrected is not None:
        yield {"messages": [*example.prompt, example.corrected], "label": True}
    is_judged = example.rating is not None or example.corrected is not None
    if is_judged and example.answer not in (None, example.corrected):
        yield {"messages": [*example.prompt, example.answer], "label": example.rating == "up"}


def _prompt(example: Example) -> Iterator[Row]:
    reference = {} if example.corrected is None else {"reference": example.corrected["content"]}
    yield {"messages": example.prompt, **reference}


ROWS: dict[Kind, Callable[[Example], Iterator[Row]]] = {
    "chat": _chat,
    "preference": _preference,
    "labelled": _labelled,
    "prompt": _prompt,
}


def _example(rated: Rated) -> Example:
    stored = rated.completion
    correction = stored.corrected_answer
    return Example(
        prompt=[_without_absent(message) for message in stored.request["messages"]],
        tools={key: stored.request[key] for key in TOOL_KEYS if stored.request.get(key) not in ABSENT},
        answer=_answer(stored),
        corrected=None if correction is None else {"role": "assistant", "content": correction},
        rating=stored.rating,
        liked=None if rated.liked is None else _answer(rated.liked),
    )


def _answer(stored: StoredCompletion) -> Message | None:
    """Return the first answer, or None if a limit of tokens cut it off: nobody should learn to end there."""
    choice = stored.answer["choices"][0]
    return None if choice["finish_reason"] == "length" else _without_absent(choice["message"])


def _without_absent(message: Message) -> Message:
    """Return the message without fields that have no value, and without those that no dataset knows.

    An empty text is a content.
    """
    kept = {key: message[key] for key in MESSAGE_KEYS if message.get(key) not in ABSENT}
    return {**kept, "content": ""} if message.get("content") == "" else kept
