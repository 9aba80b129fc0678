"""Renders rows to tokens with the base model's own chat template, and marks the tokens that are learnt.

The model learns the texts that it should write. In a chat row these are the assistant messages with their
calls of tools, each with the token that ends the turn and with the message's weight. In a row with two
answers, or with a labelled answer, they are only the answers. A prompt without an answer has none: its text
ends with the template's prompt for an answer, and training has the model write one.

The template itself shows where an answer stands in the text of the row. It renders the messages before the
answer, with a prompt for an answer at the end, and then the same messages with the answer. The row's text
must begin with the second text, and the second with the first; their difference is the answer. One case is
special: no template renders an empty conversation. So if an answer opens the conversation, the prompt is
looked for in the text itself.

So each answer takes two more renderings, and the last answer takes one. They stop where the row is cut, so
their number depends on `max_length` and not on the length of the row.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from core.datasets.chat_rules import content_text
from core.datasets.checks.report import DataFinding
from core.datasets.kinds import Kind
from core.datasets.labelled_rules import labelled
from core.datasets.preference_rules import pair
from core.errors import JobError
from core.images.parts import UnusableImage
from worker.rendering.images import FileImages
from worker.rendering.row_limits import refusal_of_row
from worker.rendering.row_template import REFUSALS, RowTemplate, refuse_missing_places
from worker.rows.invocation import invoked_at
from worker.rows.row import Row

Span = tuple[int, int]
Messages = list[dict[str, Any]]

TURNS_CHANGE = "the template renders earlier turns differently once later turns follow"
NAMED_LINES = 10  # the most line numbers in a sentence
LISTED_LINES = 100  # the most line numbers in the data for programs


@dataclass
class Lines:
    """Numbers of lines: how many they are, and the first of them."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        self.count += 1
        if len(self.first) < LISTED_LINES:
            self.first.append(line)

    def agreeing(self, one: str, several: str) -> str:
        """Return the form of a word that agrees with the number of lines."""
        return one if self.count == 1 else several

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.first[:NAMED_LINES]))
        more = f" and {self.count - NAMED_LINES} more" if self.count > NAMED_LINES else ""
        return f"line{'s' if self.count > 1 else ''} {shown}{more}"


class Conversation(NamedTuple):
    """A rendered conversation: its row, and the text that the template made of it.

    `offsets_LE[i]` has the begin and the end of token i in the text. `tokens` counts the cut ones, too.
    `is_prompt` says that its text ends with the prompt for an answer.
    """

    row: Row
    text: str
    offsets_LE: NDArray[np.int64]
    tokens: int
    is_prompt: bool = False

    @property
    def cut_tokens(self) -> int:
        """The number of tokens behind the limit."""
        return self.tokens - len(self.row.tokens_L)

    @property
    def is_taken(self) -> bool:
        """Whether training can use it: something is left to learn, or it is a whole prompt."""
        return not self.cut_tokens if self.is_prompt else self.row.supervised > 0


class Rendering:
    """Renders the rows of one file, and counts the rows that were cut or skipped."""

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        param: str | None,
        kind: Kind = "chat",
        invocation: Sequence[int] = (),
        images: FileImages | None = None,
    ) -> None:
        """Rows are cut to `max_length` tokens, and those without the adapter's `invocation` are counted.

        `param` is the request's field that named the file. It is None for somebody who looks at single rows.
        `images` are those of the file, if the base model reads images.
        """
        self._images = images
        self._tokenizer, self._max_length, self._param, self._kind = tokenizer, max_length, param, kind
        self._invocation = invocation
        self.cut, self.skipped, self.too_long, self.uninvoked = Lines(), Lines(), Lines(), Lines()

    def render(self, rows: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[Row]:
        """Render every row, which comes with its line number.

        A row with two answers becomes two rows, one after the other. Rows with nothing left to learn are
        skipped, and so are prompts that are too long.

        Raises JobError if the base model has no chat template, if its template refuses a row (the error names
        the line), if no row is left, or if no row invokes the adapter.
        """
        taken = 0
        for line, row in rows:
            parts = self._render(line, row)
            yield from parts
            taken += bool(parts)
        if not taken:
            raise self._none_taken()
        if self.uninvoked.count == taken:
            raise JobError(
                "nothing_to_learn",
                "No row has the tokens of adapter.alora_invocation_tokens within max_length = "
                f"{self._max_length} tokens, so the adapter would act nowhere. Compare them with the tokens "
                "of a row, or raise max_length.",
                self._param,
            )

    def _none_taken(self) -> JobError:
        if self.too_long.count:
            reason = (
                f"Every prompt has more than max_length = {self._max_length} tokens, and prompts are not cut"
            )
            return JobError("prompt_too_long", f"{reason}: shorten them, or raise max_length.", self._param)
        return JobError(
            "nothing_to_learn",
            f"No row has an assistant token within max_length = {self._max_length} tokens: raise max_length.",
            self._param,
        )

    def warnings(self) -> list[tuple[str, dict[str, Any]]]:
        """Return a sentence and data for programs: first about rows that were cut, then about skipped ones.

        Both give the number of lines. If there are many, they name only the first lines.
        """
        return [
            (f"{self._param}: {lines} {fate}", {"code": code, "count": lines.count, "lines": lines.first})
            for code, lines, fate, _ in self._fates()
        ]

    def findings(self) -> list[DataFinding]:
        """Return the same as findings of a job's check."""
        return [
            DataFinding.model_validate(
                {
                    "file": self._param,
                    "code": code,
                    "severity": "warning",
                    "count": lines.count,
                    "lines": lines.first[:NAMED_LINES],
                    "message": f"{lines.agreeing('row', 'rows')} {fate}",
                    "mend": mend,
                }
            )
            for code, lines, fate, mend in self._fates()
        ]

    def _fates(self) -> Iterator[tuple[str, Lines, str, str]]:
        """Yield the code, lines, fate and mend of rows that were cut, skipped or not invoked."""
        if self.cut.count:
            are, were = self.cut.agreeing("is", "are"), self.cut.agreeing("was", "were")
            fate = f"{are} longer than {self._max_length} tokens and {were} cut"
            yield "row_cut", self.cut, fate, "shorten them, or raise max_length"
        if self.skipped.count:
            have, were = self.skipped.agreeing("has", "have"), self.skipped.agreeing("was", "were")
            mend = "write answers, or raise max_length if the prompts fill it"
            yield "nothing_learnt", self.skipped, f"{have} nothing left to learn and {were} skipped", mend
        if self.too_long.count:
            have, were = self.too_long.agreeing("has", "have"), self.too_long.agreeing("was", "were")
            fate = f"{have} more than {self._max_length} tokens and {were} skipped, since prompts are not cut"
            yield "prompt_too_long", self.too_long, fate, "shorten them, or raise max_length"
        if self.uninvoked.count:
            fate = "without alora_invocation_tokens: the adapter does not act there, and learns nothing"
            mend = "put the text of these tokens into their prompts, or raise max_length"
            yield "not_invoked", self.uninvoked, fate, mend

    def conversations(self, line: int, row: dict[str, Any]) -> list[Conversation]:
        """Render one row: a chat, an answer with a label, two answers, or a prompt.

        Raises JobError if the base model has no chat template, or if its template refuses the row or has no
        place for a part of it.
        """
        if not self._tokenizer.chat_template:
            raise JobError(
                "model_unavailable", "The base model has no chat template to render rows with.", "model"
            )
        reads_images = self._images is not None
        refuse_missing_places(self._tokenizer, row, self._kind, line, self._param, reads_images)
        with _refusals(line, self._param):
            return [
                self._conversation(line, row, messages, desirable)
                for messages, desirable in conversations_of(row, self._kind)
            ]

    def _conversation(
        self, line: int, row: dict[str, Any], messages: Messages, desirable: bool
    ) -> Conversation:
        images = self._images.of(messages) if self._images is not None else None
        template = RowTemplate(self._tokenizer, row, images)
        if self._kind == "prompt":
            return _render_prompt(template, line, messages, self._max_length)
        return _render_row(template, line, messages, self._max_length, desirable)

    def _render(self, line: int, row: dict[str, Any]) -> list[Row]:
        parts = self.conversations(line, row)
        is_prompt, taken = self._kind == "prompt", is_taken(parts)
        if not is_prompt and any(part.cut_tokens for part in parts):
            self.cut.add(line)
        if not taken:
            (self.too_long if is_prompt else self.skipped).add(line)
            return []
        if all(invoked_at(part.row.tokens_L, self._invocation) is None for part in parts):
            self.uninvoked.add(line)
        return [part.row for part in parts]


def is_taken(parts: Sequence[Conversation]) -> bool:
    """Return whether training takes a row. It skips the row if it cannot use one of the conversations."""
    return all(part.is_taken for part in parts)


@contextmanager
def _refusals(line: int, param: str | None) -> Iterator[None]:
    """Turn an error of a template into a JobError of the row."""
    try:
        yield
    except UnusableImage as error:
        raise refusal_of_row(error.code, line, f"an image {error}", param) from error
    except REFUSALS as error:
        reason = f"the base model's chat template refuses the messages: {error}"
        raise refusal_of_row(f"invalid_{param or 'row'}", line, reason, param) from error
    except MemoryError as error:
        reason = (
            "the base model's chat template and tokenizer need too much memory for the row. Shorten it, or "
            "ask the operator to look at the base model."
        )
        raise refusal_of_row("rows_not_rendered", line, reason, param) from error


def conversations_of(row: dict[str, Any], kind: Kind) -> Iterator[tuple[Messages, bool]]:
    """Yield the conversations of a stored row, and whether the answers of each are desirable."""
    match kind:
        case "chat" | "prompt":
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
    tokenizer: RowTemplate,
    line: int,
    messages: Messages,
    max_length: int,
    desirable: bool,
) -> Conversation:
    """Return the conversation with its first `max_length` tokens."""
    messages = tokenizer.plain(messages)
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    tokens_L, offsets_LE, tokens = _encoded(tokenizer, text, max_length)
    starts, ends = offsets_LE.T
    weights_L = np.zeros(len(tokens_L), dtype=np.float32)
    for (start, end), weight in _spans(tokenizer, messages, text):
        if start >= ends.max(initial=0):
            break  # this span is behind the cut, and so are all later ones
        weights_L[(starts >= start) & (ends <= end) & (ends > starts)] = weight
    learnt_L = weights_L > 0
    weighted = bool((weights_L[learnt_L] != 1).any())
    row = Row(line, tokens_L, learnt_L, weights_L if weighted else None, desirable)
    return Conversation(row, text, offsets_LE, tokens)


def _render_prompt(tokenizer: RowTemplate, line: int, messages: Messages, max_length: int) -> Conversation:
    """Return the conversation up to where an answer begins, with its first `max_length` tokens."""
    text = tokenizer.apply_chat_template(
        tokenizer.plain(messages), tokenize=False, add_generation_prompt=True
    )
    tokens_L, offsets_LE, tokens = _encoded(tokenizer, text, max_length)
    row = Row(line, tokens_L, np.zeros(len(tokens_L), np.bool_))
    return Conversation(row, text, offsets_LE, tokens, is_prompt=True)


def _encoded(tokenizer: Any, text: str, max_length: int) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
    """Return the first `max_length` tokens of a text, their places in it, and the number of all tokens."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    tokens_L = np.asarray(encoded["input_ids"][:max_length], dtype=np.int32)
    offsets_LE = np.asarray(encoded["offset_mapping"][:max_length], dtype=np.int64).reshape(-1, 2)
    return tokens_L, offsets_LE, len(encoded["input_ids"])


def _spans(tokenizer: Any, messages: Messages, text: str) -> Iterator[tuple[Span, float]]:
    """Yield the place and the weight of each part of the row's text that is learnt, in order."""
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or message.get("weight") == 0:
            continue
        is_last = index + 1 == len(messages)
        after = text if is_last else tokenizer.apply_chat_template(messages[: index + 1], tokenize=False)
        before = _before(tokenizer, messages[: index + 1], after)
        if not text.startswith(after):
            after = _shared(tokenizer, text, after)
            if content_text(message["content"]).strip() not in after[len(before) :]:
                raise TemplateError(TURNS_CHANGE)
        if not after.startswith(before):
            raise TemplateError(TURNS_CHANGE)
        weight = message.get("weight")
        yield (len(before), len(after.rstrip())), 1.0 if weight is None else weight


def _shared(tokenizer: Any, text: str, other: str) -> str:
    """Return the tokens that both texts begin with.

    Some templates, such as Phi 3's, end every conversation with a token that is not there if turns follow.
    """
    ours, its = (
        tokenizer(each, add_special_tokens=False, return_offsets_mapping=True) for each in (text, other)
    )
    pairs = zip(ours["input_ids"], its["input_ids"], strict=False)
    count = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return text[: ours["offset_mapping"][count - 1][1]] if count else ""


def _before(tokenizer: Any, messages: Messages, text: str) -> str:
    """Return the text before the last of `messages`, an answer. `text` is the text of all of them."""
    if len(messages) > 1:
        return str(tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True))
    prompted = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = prompted.removeprefix(text)
    if prompt in ("", prompted) or prompt not in text:
        raise TemplateError("a conversation must not open with the assistant; begin it with the user")
    return text[: text.index(prompt) + len(prompt)]
