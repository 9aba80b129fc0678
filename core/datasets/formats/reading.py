"""Reads a file of any known format as rows, and says which format it is."""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Literal, NamedTuple

import msgspec

from core.datasets import strict_json
from core.datasets.findings import Finding, quote
from core.datasets.formats.compression import LONGEST_MAGIC, compression_of, expanded
from core.datasets.formats.delimited import columns_of, delimited_rows
from core.datasets.formats.json_array import ArrayReader
from core.datasets.formats.shapes import KEYS, Row, Shape, is_prompt, said, shape_of
from core.datasets.formats.tool_forms import WrongRow
from core.datasets.formats.unreadable import Unreadable
from core.datasets.reader import UTF8_BOM, RowReader
from core.strict_json import RepeatedKeys

HEAD_BYTES = 64 * 1024  # of the expanded file, in which its format shows
SEPARATOR = "||"
PARQUET = b"PAR1"
WITHOUT_LINES = ("json_array", "parquet")  # containers whose rows have no line of their own
MOST_UNREADABLE = 100  # records at the begin of a file, after which no more are tried
JSON_ARRAY = re.compile(rb'\s*\[\s*(?:[\[{"\]\d-]|true|false|null)')
KNOWN = (
    "rows with messages, prompt and completion, question and answer, input and output, instruction and "
    "output (Alpaca), conversations (ShareGPT), chosen and rejected, a label, text and category, or text"
)

Records = Iterator[tuple[int, Any]]
NumberedBy = Literal["line", "row"]


class Format(NamedTuple):
    """What a file was recognised as.

    `container` is how its rows are kept. `name` and `words` say what the rows hold. A job takes a `native`
    file as it is.
    """

    container: str
    name: str
    words: str
    native: bool

    @property
    def numbered_by(self) -> NumberedBy:
        """Return whether the numbers of rows count the lines of the file or its rows."""
        return "row" if self.container.startswith(WITHOUT_LINES) else "line"


class Dataset(NamedTuple):
    """A file that is being read: its format, and its rows as `(number, JSON or what is wrong)`."""

    format: Format
    rows: Iterator[tuple[int, bytes | Finding]]


def open_dataset(chunks: Iterator[bytes], max_bytes: int, max_row_bytes: int) -> Dataset:
    """Recognise a file by its content, and return its rows. Raises Unreadable, also while rows are read.

    The file may expand to `max_bytes`. A native file's rows come as they are, with all their mistakes.
    """
    compressed = _Peekable(chunks)
    is_compressed = compression_of(compressed.head(LONGEST_MAGIC)) is not None
    content = _Peekable(expanded(iter(compressed), max_bytes))
    head = content.head(HEAD_BYTES)
    if head.startswith(PARQUET):
        container, records = "parquet", _parquet(iter(content), max_bytes, max_row_bytes)
    else:
        container, records = _records(head, iter(content), max_row_bytes)
    return _dataset(container, records, compressed=is_compressed)


def format_of(head: bytes, max_row_bytes: int) -> Format | None:
    """Return what the first bytes of a file show, or None if they show no format that is known."""
    try:
        return open_dataset(iter((head,)), 1 << 40, max_row_bytes).format
    except Unreadable:
        return None


class _Peekable:
    """An iterator over chunks, at whose first bytes one may look before."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._seen = chunks, b""

    def head(self, count: int) -> bytes:
        while len(self._seen) < count and (chunk := next(self._chunks, None)) is not None:
            self._seen += chunk
        return self._seen[:count]

    def __iter__(self) -> Iterator[bytes]:
        seen, self._seen = self._seen, b""
        return chain((seen,), self._chunks)


def _parquet(chunks: Iterator[bytes], max_bytes: int, max_row_bytes: int) -> Records:
    # The API asks for formats too, and must not pay for this import
    from core.datasets.formats.parquet import parquet_rows

    return parquet_rows(chunks, max_bytes, max_row_bytes, KEYS, is_prompt)


def _records(head: bytes, chunks: Iterator[bytes], max_row_bytes: int) -> tuple[str, Records]:
    """Return how a file keeps its rows, and its records: JSON values, rows of CSV, or lines of text."""
    start = head.removeprefix(UTF8_BOM)
    if JSON_ARRAY.match(start):
        array = ArrayReader(max_row_bytes)
        return "json_array", chain(chain.from_iterable(map(array.feed, chunks)), array.finish())
    lines = RowReader(max_row_bytes)
    whole = chain(chain.from_iterable(map(lines.feed, chunks)), lines.finish())
    if start.lstrip().startswith(b"{") or not start.strip() or b"\0" in start[:4]:
        return "jsonl", whole
    shown = start.decode(errors="replace").splitlines()
    if (found := columns_of(shown[0])) and shape_of(dict.fromkeys(found[1], "")):
        return "csv", delimited_rows(chunks, found[0], max_row_bytes)
    texts = [line for line in shown if line.strip()]
    whole_texts = texts[:-1] or texts  # the last one may be cut
    separated = bool(texts) and all(SEPARATOR in line for line in whole_texts)
    return ("separated_text" if separated else "text"), whole


def _dataset(container: str, records: Records, *, compressed: bool) -> Dataset:
    shown = f"{container}, compressed" if compressed else container
    if container in ("text", "separated_text"):
        words = "lines of text" if container == "text" else f"lines of two texts around {SEPARATOR}"
        return Dataset(Format(shown, container, words, False), map(_LINES[container], records))
    seen: list[tuple[int, Any]] = []
    shape = None
    for number, raw in records:
        record = _parse(raw)
        seen.append((number, raw))
        if not isinstance(record, Finding):
            shape = _shape(record)
        if shape is not None or len(seen) == MOST_UNREADABLE:
            break
    native = shape is None or (shape.native and container == "jsonl" and not compressed)
    rows = chain(seen, records)
    if shape is None or native:
        name, words = (shape.name, shape.words) if shape else ("unknown", "no readable row")
        return Dataset(Format(shown, name, words, native), _as_they_are(rows))
    return Dataset(Format(shown, shape.name, shape.words, False), _converted(rows, shape))


def _shape(record: Any) -> Shape:
    """Return the shape of the file's first record. Raises Unreadable if it has none."""
    if isinstance(record, str):
        return Shape("text", "plain text", _as_text)
    shape = shape_of(record) if isinstance(record, dict) else None
    if shape is None:
        keys = ", ".join(quote(key) for key in record) if isinstance(record, dict) else "no object"
        message = f"the first row ({keys[:200]}) is of no known form; known are {KNOWN}"
        raise Unreadable("unknown_format", message)
    return shape


def _as_text(record: Any) -> Row:
    return said(("assistant", record))


def _parse(raw: Any) -> Any:
    """Return the value of a record that is bytes; what is wrong with it is a Finding."""
    if not isinstance(raw, bytes):
        return raw
    try:
        return strict_json.parse(raw)
    except strict_json.UnreadableLine as error:
        return Finding("", error.code, str(error))


def _as_they_are(records: Records) -> Iterator[tuple[int, bytes | Finding]]:
    yield from records


def _converted(records: Records, shape: Shape) -> Iterator[tuple[int, bytes | Finding]]:
    for number, raw in records:
        yield number, _row(_parse(raw), shape)


def _row(record: Any, shape: Shape) -> bytes | Finding:
    if isinstance(record, Finding):
        return record
    try:
        if isinstance(record, RepeatedKeys):
            return Finding("", "duplicate_key", f"the key {quote(record.key)} occurs twice; remove one")
        if not isinstance(record, dict | str) or isinstance(record, str) != (shape.convert is _as_text):
            raise WrongRow("", "must be an object, or a text as the first row")
        return msgspec.json.encode(shape.convert(record))
    except WrongRow as error:
        return Finding(error.field, "other_format", f"{error}; the file began with {shape.words}")
    except UnicodeEncodeError:
        return Finding("", "lone_surrogate", "has half of a character alone; write the whole character")
    except RecursionError:
        return Finding("", "too_deep", "the row is nested too deeply; flatten it")


def _text_line(record: tuple[int, Any]) -> tuple[int, bytes | Finding]:
    return _line(record, lambda text: said(("assistant", text)))


def _separated_line(record: tuple[int, Any]) -> tuple[int, bytes | Finding]:
    def convert(text: str) -> Row:
        question, separator, answer = text.partition(SEPARATOR)
        if not separator:
            raise WrongRow("", f"has no {SEPARATOR} between the question and the answer")
        return said(("user", question.strip()), ("assistant", answer.strip()))

    return _line(record, convert)


def _line(record: tuple[int, Any], convert: Callable[[str], Row]) -> tuple[int, bytes | Finding]:
    number, raw = record
    if isinstance(raw, Finding):
        return number, raw
    try:
        return number, msgspec.json.encode(convert(raw.decode()))
    except UnicodeDecodeError as error:
        where = f"byte {error.start + 1} of the line (0x{raw[error.start]:02x})"
        return number, Finding("", "invalid_utf8", f"{where} is not UTF-8; save the file as UTF-8")
    except WrongRow as error:
        return number, Finding("", "other_format", str(error))


_LINES = {"text": _text_line, "separated_text": _separated_line}
