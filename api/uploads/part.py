"""Parses the form of one part while it arrives, and writes the part's bytes to the object store at once."""

from collections.abc import Mapping
from dataclasses import dataclass

from api.http.forms import FileField, StreamedForm, announced_bytes
from core.errors import AppError, InvalidRequest, TooLarge
from core.ids import new_id
from core.storage.object_store import ObjectStore, upload_prefix

MAX_PART_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class ReceivedPart:
    """A part whose bytes are in the object store."""

    id: str
    object_key: str
    bytes: int


@dataclass(frozen=True)
class PartLimits:
    """How large the next part of an upload may be.

    `file_bytes` is the announced size of the whole file. `room` is what the upload still takes, and `full` is
    the error for a part that exceeds the room.
    """

    file_bytes: int
    room: int
    full: AppError

    def check(self, size: int) -> None:
        """Raise an error if a part of `size` bytes, or more, may not be sent."""
        if size > MAX_PART_BYTES:
            raise _too_large(f"it may have up to {MAX_PART_BYTES} bytes. Send the rest as another part.")
        if size > self.file_bytes:
            raise _too_large(
                f"the whole file was announced with {self.file_bytes} bytes. Send a smaller part, or cancel "
                "this upload and announce the size that the file really has."
            )
        if size > self.room:
            raise self.full


class PartIntake:
    """Takes the body by `feed`, and then `finish` or `abort`. Raises InvalidRequest and TooLarge."""

    def __init__(
        self, headers: Mapping[str, str], store: ObjectStore, upload_id: str, limits: PartLimits
    ) -> None:
        limits.check(announced_bytes(headers))
        self._limits = limits
        self._id = new_id("part_")
        self._key = upload_prefix(upload_id) + self._id
        self._writer = store.writer(self._key)
        self._form = StreamedForm(headers, FileField("data", self._receive))

    def feed(self, block: bytes) -> None:
        self._form.feed(block)

    def finish(self) -> ReceivedPart:
        self._form.finish()
        if self._writer.bytes == 0:
            raise InvalidRequest(
                "The part is empty. Send at least one byte in the field 'data'.",
                code="invalid_value",
                param="data",
            )
        self._writer.commit()
        return ReceivedPart(self._id, self._key, self._writer.bytes)

    def abort(self) -> None:
        """Remove what was written to the object store."""
        self._writer.abort()

    def _receive(self, chunk: bytes) -> None:
        self._limits.check(self._writer.bytes + len(chunk))
        self._writer.write(chunk)


def _too_large(reason: str) -> TooLarge:
    return TooLarge(f"The part is too large: {reason}", code="part_too_large", param="data")
