"""Parses the form of `POST /v1/files` while it arrives: the fields about the file, and the file's bytes."""

from collections.abc import Mapping

from api.files.expiry import EXPIRY_ANCHORS, MAX_LIFETIME, MIN_LIFETIME
from api.files.intake import PURPOSES, FileIntake, ReceivedFile
from api.http.forms import FileField, StreamedForm, TextField, announced_bytes, missing
from core.datasets.images import ImageCheck
from core.errors import InvalidRequest
from core.ids import new_id
from core.storage.object_store import ObjectStore, file_key


class Upload:
    """One upload. Pass its body to `feed`, then call `finish` or `abort`. Raises InvalidRequest, TooLarge."""

    def __init__(
        self,
        headers: Mapping[str, str],
        project_id: str,
        store: ObjectStore,
        *,
        max_file_bytes: int,
        max_row_bytes: int,
        images: ImageCheck,
    ) -> None:
        self.id = new_id("file-")
        self.key = file_key(project_id, self.id)
        self._intake = FileIntake(
            store, self.key, max_bytes=max_file_bytes, max_row_bytes=max_row_bytes, images=images
        )
        self.announced_bytes = announced_bytes(headers)
        if self.announced_bytes > max_file_bytes:
            raise self._intake.too_large()
        self._file = FileField("file", self._receive)
        self._purpose = TextField("purpose", _purpose)
        self._anchor = TextField("expires_after[anchor]", _anchor)
        self._lifetime = TextField("expires_after[seconds]", _lifetime)
        self._form = StreamedForm(headers, self._file, self._purpose, self._anchor, self._lifetime)

    def feed(self, block: bytes) -> None:
        self._form.feed(block)

    def finish(self) -> ReceivedFile:
        """Check the whole file, and commit the object."""
        if self._purpose.value is None:
            raise missing("purpose")
        self._form.finish()
        if (self._anchor.value is None) != (self._lifetime.value is None):
            raise missing("expires_after[anchor]" if self._anchor.value is None else "expires_after[seconds]")
        return self._intake.finish(self.id, self._file.filename, self._purpose.value, self._lifetime.value)

    def abort(self) -> None:
        """Remove the bytes that were written to the object store."""
        self._intake.abort()

    def _receive(self, chunk: bytes) -> None:
        self._intake.write(chunk, self._purpose.value)


def _purpose(text: str) -> str:
    """Return the purpose. If its field comes before the file, a wrong purpose is refused at once."""
    if text not in PURPOSES:
        raise _invalid("purpose", text, f"On offer: {', '.join(PURPOSES)}.")
    return text


def _anchor(text: str) -> str:
    if text not in EXPIRY_ANCHORS:
        raise _invalid("expires_after[anchor]", text, f"On offer: {', '.join(EXPIRY_ANCHORS)}.")
    return text


def _lifetime(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and MIN_LIFETIME <= int(text) <= MAX_LIFETIME):
        allowed = f"It must be an integer from {MIN_LIFETIME} to {MAX_LIFETIME}."
        raise _invalid("expires_after[seconds]", text, allowed)
    return int(text)


def _invalid(param: str, value: str, allowed: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value for '{param}': {value!r}. {allowed}", code="invalid_value", param=param
    )
