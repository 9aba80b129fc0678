"""Rows to tokens, by the base model's own template, and which of them are learnt.

Learnt is what the model has to say: of a chat row each assistant message, with the token that ends the turn,
by its weight; of a row with two answers, or with a labelled one, the answers alone. Where that stands in the
text follows from the template: the text up to a message, with the prompt for an answer, must begin the text
up to and with it. No template renders the nothing before an answer that opens a conversation; there the
prompt is looked for in the text itself.

So each answer costs two more renderings of what stands before it. They end where the row is cut: their number
follows from `max_length`, not from the row.
"""

from collections.abc import Callable, Iterable, Iterator
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

NAMED_LINES = 10  # in a sentence
LISTED_LINES = 100  # for programs

# jinja2's own, what transformers refuses, and what an expression of a template raises on an odd message
REFUSALS = (TemplateError, ValueError, TypeError)


@dataclass
class Rendered:
    """The rows that can be learnt from, and the lines of those that were cut or left out."""

    rows: list[Row] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(len(row.tokens_L) for row in self.rows)

    def warnings(self, param: str, max_length: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """What a client should know of the rows that are not as they were: a sentence, and data for programs.

        Of a large file, both name the first lines and count them all.
        """
        for lines, what in (
            (self.cut, f"are longer than {max_length} tokens and were cut"),
            (self.left_out, "keep nothing to learn and were left out"),
        ):
            if lines:
                data = {"count": len(lines), "lines": lines[:LISTED_LINES]}
                yield f"{param}: {_listed(lines)} {what}", data


def render(
    tokenizer: Any,
    rows: Iterable[tuple[int, dict[str, Any]]],
    max_length: int,
    param: str,
    look_up: Callable[[], None] = lambda: None,
    kind: Kind = "chat",
) -> Rendered:
    """Render every row, given with its line number, cut to `max_length` tokens.

    A row of two answers becomes two, side by side. Rows that keep nothing to learn are left out. Raises
    JobError, which names the line, where the model's template refuses a row, and where no row is left;
    `param` is the request's field that named the file. `look_up` is called between rows and between the
    renderings of one; what it raises ends the work.
    """
    if not tokenizer.chat_template:
        raise JobError(
            "model_unavailable", "The base model has no chat template to render rows with.", "model"
        )
    rendered = Rendered()
    for line, row in rows:
        look_up()
        with _refusals(line, param):
            parts = [
                _render_row(tokenizer, line, messages, max_length, look_up, desirable)
                for messages, desirable in _conversations(row, kind)
            ]
        if any(cut for _, cut in parts):
            rendered.cut.append(line)
        if all(result.supervised for result, _ in parts):
            rendered.rows += [result for result, _ in parts]
        else:
            rendered.left_out.append(line)
    if not rendered.rows:
        raise JobError(
            "nothing_to_learn",
            f"No row has an assistant token within max_length = {max_length} tokens: raise it.",
            param,
        )
    return rendered


@contextmanager
def _refusals(line: int, param: str) -> Iterator[None]:
    """Makes a JobError, which names the line, of what a template raises."""
    try:
        yield
    except REFUSALS as error:
        reason = f"Line {line}: the base model's chat template refuses the messages: {error}"
        raise JobError(f"invalid_{param}", reason, param) from error


def _conversations(row: dict[str, Any], kind: Kind) -> Iterator[tuple[Messages, bool]]:
    """The conversations of a stored row, and whether what each teaches is desirable."""
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
    """Of which the answer alone is learnt."""
    return [*({**message, "weight": 0} for message in prompt), answer]


def _render_row(
    tokenizer: Any,
    line: int,
    messages: Messages,
    max_length: int,
    look_up: Callable[[], None],
    desirable: bool,
) -> tuple[Row, bool]:
    """The row's first `max_length` tokens, and whether there were more."""
    messages = [_plain(message) for message in messages]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    tokens_L = np.asarray(encoded["input_ids"][:max_length], dtype=np.int32)
    offsets = np.asarray(encoded["offset_mapping"][:max_length], dtype=np.int64)
    starts, ends = offsets.reshape(-1, 2).T
    weights_L = np.zeros(len(tokens_L), dtype=np.float32)
    for (start, end), weight in _spans(tokenizer, messages, text, look_up):
        if start >= ends.max(initial=0):
            break  # it lies behind the cut, and so does all that follows
        weights_L[(starts >= start) & (ends <= end) & (ends > starts)] = weight
    learnt_L = weights_L > 0
    weighted = bool((weights_L[learnt_L] != 1).any())
    row = Row(line, tokens_L, learnt_L, weights_L if weighted else None, desirable)
    return row, len(encoded["input_ids"]) > max_length


def _spans(
    tokenizer: Any, messages: Messages, text: str, look_up: Callable[[], None]
) -> Iterator[tuple[Span, float]]:
    """Where in the row's text the learnt parts stand, one after another, and their weights."""
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or message.get("weight") == 0:
            continue
        look_up()
        after = tokenizer.apply_chat_template(messages[: index + 1], tokenize=False)
        before = _before(tokenizer, messages[: index + 1], after)
        if not (text.startswith(after) and after.startswith(before)):
            raise TemplateError("the template renders earlier turns differently once later ones follow")
        weight = message.get("weight")
        yield (len(before), len(after.rstrip())), 1.0 if weight is None else weight


def _before(tokenizer: Any, messages: Messages, text: str) -> str:
    """What stands before the last of `messages`, an answer; `text` is all of them."""
    if len(messages) > 1:
        return str(tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True))
    prompted = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = prompted.removeprefix(text)
    if prompt in ("", prompted) or prompt not in text:
        raise TemplateError("a conversation must not open with the assistant; begin it with the user")
    return text[: text.index(prompt) + len(prompt)]


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """Content as text, and `developer` by its older name, which the templates know."""
    role = "system" if message["role"] == "developer" else message["role"]
    return {**message, "role": role, "content": content_text(message["content"])}


def _listed(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:NAMED_LINES]))
    more = f" and {len(lines) - NAMED_LINES} more" if len(lines) > NAMED_LINES else ""
    return f"line{'s' if len(lines) > 1 else ''} {shown}{more}"
