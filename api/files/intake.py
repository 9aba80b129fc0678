"""Writes a file's bytes to the object store, and checks them as a dataset, while they arrive.

The file is never in memory or on disk as a whole. No client sees it before it is complete and right.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from api.files.expiry import lifetime_of
from api.files.format_advice import other_format
from core.datasets.check import DatasetCheck, Report, RowFinding, describe
from core.datasets.formats.reading import HEAD_BYTES
from core.datasets.images import ImageCheck
from core.datasets.kinds import PURPOSE, Kind
from core.datasets.template_needs import Need
from core.errors import InvalidRequest, TooLarge
from core.storage.object_store import ObjectStore

Purpose = Literal["fine-tune", "batch", "assistants", "vision", "user_data", "evals"]
PURPOSES: tuple[str, ...] = get_args(Purpose)

MAX_FILENAME = 255


@dataclass(frozen=True)
class ReceivedFile:
    """A complete file, whose bytes are in the object store. A checked dataset has `rows` and their `kind`."""

    id: str
    object_key: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    rows: int | None = None
    kind: Kind | None = None
    needs: dict[Need, int] | None = None
    longest_line: int | None = None
    lifetime: int | None = None
    """Seconds from its registration to its expiry. None keeps the file until a client deletes it."""
    lineage: dict[str, Any] | None = None
    """What the server has made the file of. None for a file that a client sent."""


class FileIntake:
    """Takes the bytes by `write`, and then `finish` or `abort`. Raises InvalidRequest and TooLarge."""

    def __init__(
        self,
        store: ObjectStore,
        object_key: str,
        *,
        max_bytes: int,
        max_row_bytes: int,
        kind: Kind | None = None,
        images: ImageCheck | None = None,
    ) -> None:
        """`kind` is that of a dataset that the server makes. `images` checks the images of others."""
        self._key = object_key
        self._max_bytes = max_bytes
        self._writer = store.writer(object_key)
        self._max_row_bytes = max_row_bytes
        self._check = DatasetCheck(max_row_bytes, kind=kind, images=images)
        self._head = b""

    def write(self, chunk: bytes, purpose: str | None) -> None:
        """Write a chunk, and check it if it may be a dataset's. `purpose` is None while it is unknown."""
        if self._writer.bytes + len(chunk) > self._max_bytes:
            raise self.too_large()
        self._writer.write(chunk)
        if purpose in (PURPOSE, None):
            self._check.feed(chunk)
            self._head += chunk[: HEAD_BYTES - len(self._head)]

    def finish(self, file_id: str, filename: str, purpose: str, lifetime: int | None) -> ReceivedFile:
        """Check the whole file, and commit the object."""
        if self._writer.bytes == 0:
            raise _empty()
        report = self._checked() if purpose == PURPOSE else None
        self._writer.commit()
        return ReceivedFile(
            id=file_id,
            object_key=self._key,
            filename=clean_filename(filename),
            purpose=purpose,
            bytes=self._writer.bytes,
            sha256=self._writer.sha256,
            rows=report.rows if report else None,
            kind=report.kind if report else None,
            needs=(report.needs or None) if report else None,
            longest_line=report.longest_line if report else None,
            lifetime=lifetime_of(purpose, lifetime),
        )

    def abort(self) -> None:
        """Remove what was written to the object store."""
        self._writer.abort()

    def too_large(self) -> TooLarge:
        """Return the error for a file that is larger than `max_bytes`."""
        return TooLarge(
            f"The file is too large: this server takes files of up to {self._max_bytes} bytes.",
            code="file_too_large",
            param="file",
        )

    def _checked(self) -> Report:
        report = self._check.finish()
        if report.ok:
            return report
        other = other_format(self._head, self._max_row_bytes)
        findings = [RowFinding(1, "", "other_format", other)] if other else report.findings
        raise InvalidRequest(
            other or describe(report),
            code="invalid_file_format",
            param="file",
            details=[finding._asdict() for finding in findings],
        )


def clean_filename(name: str) -> str:
    """Return the last part of a client's path, without characters that cannot be printed."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(letter for letter in last if letter.isprintable())[:MAX_FILENAME] or "upload"


def _empty() -> InvalidRequest:
    finding = RowFinding(1, "", "empty_file", "the file is empty; check that you sent the right one")
    return InvalidRequest(
        "The file is empty. Check that you sent the right one.",
        code="empty_file",
        param="file",
        details=[finding._asdict()],
    )
