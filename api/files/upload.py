"""An upload while it streams: multipart form in, object store and dataset check out.

Fields come in any order. The file's bytes are never whole in memory or on disk, and nothing is visible
before the form is complete and its rows are right.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from streaming_form_data import ParseFailedException, StreamingFormDataParser
from streaming_form_data.targets import BaseTarget

from core.datasets.check import DatasetCheck, RowFinding, describe
from core.errors import InvalidRequest, TooLarge
from core.ids import new_id
from core.storage import ObjectStore, file_key

CHECKED_PURPOSE = "fine-tune"
PURPOSES = (CHECKED_PURPOSE, "batch", "assistants", "vision", "user_data", "evals")

BLOCK_BYTES = 256 * 1024
MAX_FORM_BYTES = 1024**2  # of everything but the file: boundaries, headers, other fields
MAX_PURPOSE_BYTES = 64
MAX_FILENAME = 255


@dataclass(frozen=True)
class ReceivedFile:
    """A complete upload, whose bytes are in the object store. `rows` of a checked dataset, else None."""

    id: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    rows: int | None


async def blocks(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in larger pieces: each is handed to a thread, which costs more than parsing it."""
    block = bytearray()
    async for chunk in stream:
        block += chunk
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


class Upload:
    """Feed it the body, then `finish` or `abort`. Raises InvalidRequest and TooLarge on the way."""

    def __init__(
        self, headers: Mapping[str, str], store: ObjectStore, *, max_file_bytes: int, max_row_bytes: int
    ) -> None:
        self.id = new_id("file-")
        self._max_file_bytes = max_file_bytes
        length = headers.get("content-length", "")
        self.announced_bytes = max(0, int(length) - MAX_FORM_BYTES) if length.isdecimal() else 0
        if self.announced_bytes > max_file_bytes:
            raise self._too_large()
        self._purpose = _PurposeField()
        self._file = _FileField(self._receive)
        self._parser = _parser(headers, {"purpose": self._purpose, "file": self._file})
        self._writer = store.writer(file_key(self.id))
        self._check = DatasetCheck(max_row_bytes)
        self._fed = 0

    def feed(self, block: bytes) -> None:
        self._fed += len(block)
        try:
            self._parser.data_received(block)
        except (ParseFailedException, UnicodeDecodeError) as error:
            raise InvalidRequest(
                "The body is not a well-formed multipart form.", code="invalid_multipart"
            ) from error
        if self._fed - self._writer.bytes > MAX_FORM_BYTES:
            raise TooLarge(
                f"The form holds more than {MAX_FORM_BYTES} bytes beside the field 'file'. Send the file in "
                "that field, its purpose in 'purpose', and nothing else.",
                code="form_too_large",
            )

    def finish(self) -> ReceivedFile:
        """Judge the whole and commit the object."""
        purpose = self._purpose.value
        if purpose is None:
            raise _missing("purpose")
        if not self._file.started:
            raise _missing("file")
        if not self._file.finished:
            raise InvalidRequest("The body ended in the middle of the form.", code="invalid_multipart")
        if self._writer.bytes == 0:
            raise _empty()
        rows = self._checked_rows() if purpose == CHECKED_PURPOSE else None
        self._writer.commit()
        filename = clean_filename(self._file.multipart_filename or "")
        return ReceivedFile(self.id, filename, purpose, self._writer.bytes, self._writer.sha256, rows)

    def abort(self) -> None:
        """Leave nothing in the object store."""
        self._writer.abort()

    def _receive(self, chunk: bytes) -> None:
        if self._writer.bytes + len(chunk) > self._max_file_bytes:
            raise self._too_large()
        self._writer.write(chunk)
        if self._purpose.value in (CHECKED_PURPOSE, None):  # None: the field may follow the file
            self._check.feed(chunk)

    def _checked_rows(self) -> int:
        report = self._check.finish()
        if not report.ok:
            raise InvalidRequest(
                describe(report),
                code="invalid_file_format",
                param="file",
                details=[finding._asdict() for finding in report.findings],
            )
        return report.rows

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"The file is too large: this server takes files of up to {self._max_file_bytes} bytes.",
            code="file_too_large",
            param="file",
        )


def clean_filename(name: str) -> str:
    """The last part of a client's path, without what cannot be printed."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(letter for letter in last if letter.isprintable())[:MAX_FILENAME] or "upload"


class _PurposeField(BaseTarget):
    """The purpose, judged as soon as it is complete: a wrong one is refused before the file is sent."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = bytearray()
        self.value: str | None = None

    def on_start(self) -> None:
        if self.value is not None:
            raise _twice("purpose")

    def on_data_received(self, chunk: bytes) -> None:
        self._bytes += chunk[: MAX_PURPOSE_BYTES + 1 - len(self._bytes)]

    def on_finish(self) -> None:
        value = self._bytes.decode(errors="replace")
        if value not in PURPOSES:
            raise InvalidRequest(
                f"Invalid value for 'purpose': {value!r}. On offer: {', '.join(PURPOSES)}.",
                code="invalid_value",
                param="purpose",
            )
        self.value = value


class _FileField(BaseTarget):
    def __init__(self, receive: Any) -> None:
        super().__init__()
        self._receive = receive
        self.started = self.finished = False

    def on_start(self) -> None:
        if self.started:
            raise _twice("file")
        if self.multipart_filename is None:
            raise InvalidRequest(
                "'file' came as text. With curl, put an @ before the path: -F file=@train.jsonl",
                code="invalid_value",
                param="file",
            )
        self.started = True

    def on_data_received(self, chunk: bytes) -> None:
        self._receive(chunk)

    def on_finish(self) -> None:
        self.finished = True


def _parser(headers: Mapping[str, str], fields: dict[str, BaseTarget]) -> StreamingFormDataParser:
    try:
        parser = StreamingFormDataParser({"content-type": headers.get("content-type", "")})
    except ParseFailedException as error:
        raise InvalidRequest(
            "Send the file as multipart/form-data, with the fields 'file' and 'purpose'.",
            code="invalid_multipart",
        ) from error
    for name, field in fields.items():
        parser.register(name, field)
    return parser


def _empty() -> InvalidRequest:
    finding = RowFinding(1, "", "empty_file", "the file is empty; was the right one sent?")
    return InvalidRequest(
        "The file is empty; was the right one sent?",
        code="empty_file",
        param="file",
        details=[finding._asdict()],
    )


def _missing(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name
    )


def _twice(name: str) -> InvalidRequest:
    return InvalidRequest(f"The form holds '{name}' twice.", code="invalid_value", param=name)
