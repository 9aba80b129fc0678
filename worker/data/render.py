"""Renders rows to tokens with the base model's own chat template, and marks the tokens that are learnt.

The model learns the texts that it should write. In a chat row these are the assistant messages, each with the
token that ends the turn and with the message's weight. In a row with two answers, or with a labelled answer,
they are only the answers.

The template itself shows where an answer stands in the text of the row. It renders the messages before the
answer, with a prompt for an answer at the end, and then the same messages with the answer. The row's text
must begin with the second text, and the second with the first; their difference is the answer. One case is
special: no template renders an empty conversation. So if an answer opens the conversation, the prompt is
looked for in the text itself.

So each answer takes two more renderings, and the last answer takes one. They stop where the row is cut, so
their number depends on `max_length` and not on the length of the row.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jinja2 import TemplateError

from core.datasets.chat_rules import content_text
from core.datasets.kinds import Kind
from core.datasets.labelled_rules import labelled
from core.datasets.preference_rules import pair
from core.errors import JobError
from worker.rows import Row

Span = tuple[int, int]
Messages = list[dict[str, Any]]

NAMED_LINES = 10  # the most line numbers in a sentence
LISTED_LINES = 100  # the most line numbers in the data for programs

# jinja2's own errors, those of transformers, and those of a template's expressions on unexpected messages
REFUSALS = (
    TemplateError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)


@dataclass
class Lines:
    """Numbers of lines: how many they are, and the first of them."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        self.count += 1
        if len(self.first) < LISTED_LINES:
            self.first.append(line)

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.first[:NAMED_LINES]))
        more = f" and {self.count - NAMED_LINES} more" if self.count > NAMED_LINES else ""
        return f"line{'s' if self.count > 1 else ''} {shown}{more}"


class Rendering:
    """Renders the rows of one file, and counts the rows that were cut or skipped."""

    def __init__(self, tokenizer: Any, max_length: int, param: str, kind: Kind = "chat") -> None:
        """Rows are cut to `max_length` tokens. `param` is the request's field that named the file."""
        self._tokenizer, self._max_length, self._param, self._kind = tokenizer, max_length, param, kind
        self.cut, self.skipped = Lines(), Lines()

    def render(self, rows: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[Row]:
        """Render every row, which comes with its line number.

        A row with two answers becomes two rows, one after the other. Rows with nothing left to learn are
        skipped.

        Raises JobError if the base model has no chat template, if its template refuses a row (the error names
        the line), or if no row is left.
        """
        if not self._tokenizer.chat_template:
            raise JobError(
                "model_unavailable", "The base model has no chat template to render rows with.", "model"
            )
        is_empty = True
        for line, row in rows:
            for part in self._render(line, row):
                yield part
                is_empty = False
        if is_empty:
            raise JobError(
                "nothing_to_learn",
                f"No row has an assistant token within max_length = {self._max_length} tokens: "
                "raise max_length.",
                self._param,
            )

    def warnings(self) -> list[tuple[str, dict[str, Any]]]:
        """Return a sentence and data for programs: first about rows that were cut, then about skipped rows.

        Both give the number of lines. If there are many, they name only the first lines.
        """
        return [
            (f"{self._param}: {lines} {fate}", {"count": lines.count, "lines": lines.first})
            for lines, fate in (
                (self.cut, f"are longer than {self._max_length} tokens and were cut"),
                (self.skipped, "have nothing left to learn and were skipped"),
            )
            if lines.count
        ]

    def _render(self, line: int, row: dict[str, Any]) -> list[Row]:
        with _refusals(line, self._param):
            parts = [
                _render_row(self._tokenizer, line, messages, self._max_length, desirable)
                for messages, desirable in _conversations(row, self._kind)
            ]
        if any(cut for _, cut in parts):
            self.cut.add(line)
        if all(result.supervised for result, _ in parts):
            return [result for result, _ in parts]
        self.skipped.add(line)
        return []


@contextmanager
def _refusals(line: int, param: str) -> Iterator[None]:
    """Turn an error of a template into a JobError that names the line."""
    try:
        yield
    except REFUSALS as error:
        reason = f"Line {line}: the base model's chat template refuses the messages: {error}"
        raise JobError(f"invalid_{param}", reason, param) from error
    except MemoryError as error:
        reason = (
            f"Line {line}: the base model's chat template and tokenizer need too much memory for it. Shorten "
            "the row, or ask the operator to look at the base model."
        )
        raise JobError("rows_not_rendered", reason, param) from error


def _conversations(row: dict[str, Any], kind: Kind) -> Iterator[tuple[Messages, bool]]:
    """Yield the conversations of a stored row, and whether the answers of each are desirable."""
    match kind:
        case "chat":
            yield row["messages"], True
        case "preference":
            prompt, preferred, other = pair(row)
            yield _answered(prompt, preferred), True
            yield _answered(prompt, other), False
        case "labelled":
            prompt, answer, desirable = labelled(row)
            yield _answered(prompt, answer), desirable


def _answered(prompt: Messages, answer: dict[str, Any]) -> Messages:
    """Return a conversation of which only the answer is learnt."""
    return [*({**message, "weight": 0} for message in prompt), answer]


def _render_row(
    tokenizer: Any,
    line: int,
    messages: Messages,
    max_length: int,
    desirable: bool,
) -> tuple[Row, bool]:
    """Return the row with its first `max_length` tokens, and whether there were more tokens."""
    messages = [_plain(message) for message in messages]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    tokens_L = np.asarray(encoded["input_ids"][:max_length], dtype=np.int32)
    offsets = np.asarray(encoded["offset_mapping"][:max_length], dtype=np.int64)
    starts, ends = offsets.reshape(-1, 2).T
    weights_L = np.zeros(len(tokens_L), dtype=np.float32)
    for (start, end), weight in _spans(tokenizer, messages, text):
        if start >= ends.max(initial=0):
            break  # this span is behind the cut, and so are all later ones
        weights_L[(starts >= start) & (ends <= end) & (ends > starts)] = weight
    learnt_L = weights_L > 0
    weighted = bool((weights_L[learnt_L] != 1).any())
    row = Row(line, tokens_L, learnt_L, weights_L if weighted else None, desirable)
    return row, len(encoded["input_ids"]) > max_length


def _spans(tokenizer: Any, messages: Messages, text: str) -> Iterator[tuple[Span, float]]:
    """Yield the place and the weight of each part of the row's text that is learnt, in order."""
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or message.get("weight") == 0:
            continue
        is_last = index + 1 == len(messages)
        after = text if is_last else tokenizer.apply_chat_template(messages[: index + 1], tokenize=False)
        before = _before(tokenizer, messages[: index + 1], after)
        if not (text.startswith(after) and after.startswith(before)):
            raise TemplateError("the template renders earlier turns differently once later turns follow")
        weight = message.get("weight")
        yield (len(before), len(after.rstrip())), 1.0 if weight is None else weight


def _before(tokenizer: Any, messages: Messages, text: str) -> str:
    """Return the text before the last of `messages`, an answer. `text` is the text of all of them."""
    if len(messages) > 1:
        return str(tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True))
    prompted = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = prompted.removeprefix(text)
    if prompt in ("", prompted) or prompt not in text:
        raise TemplateError("a conversation must not open with the assistant; begin it with the user")
    return text[: text.index(prompt) + len(prompt)]


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message with its content as text, and with `system` for `developer`, as templates expect."""
    role = "system" if message["role"] == "developer" else message["role"]
    return {**message, "role": role, "content": content_text(message["content"])}
