"""The parts of an upload, joined while they stream from the object store into one object."""

import hashlib
from collections.abc import Iterator

from api.files.intake import FileIntake, ReceivedFile
from api.http import downloads
from core.errors import InvalidRequest
from core.ids import new_id
from core.storage.object_store import ObjectStore, upload_prefix
from core.tables import Upload


def stored_parts(store: ObjectStore, upload: Upload, part_ids: list[str]) -> Iterator[bytes]:
    for part_id in part_ids:
        yield from downloads.stored_bytes(store, upload_prefix(upload.id) + part_id, part_id)


class Assembly:
    """Feed it the parts, then `finish` or `abort`. Raises InvalidRequest where rows or checksum are wrong.

    The object lies beside the parts, under the upload's prefix: should this process die, the janitor that
    cleans up behind the upload finds it.
    """

    def __init__(self, store: ObjectStore, upload: Upload, md5: str | None, max_row_bytes: int) -> None:
        self._upload = upload
        self._md5 = md5
        self._file_id = new_id("file-")
        key = upload_prefix(upload.id) + self._file_id
        self._intake = FileIntake(store, key, max_bytes=upload.bytes, max_row_bytes=max_row_bytes)
        self._digest = hashlib.md5(usedforsecurity=False)

    def feed(self, block: bytes) -> None:
        self._digest.update(block)
        self._intake.write(block, self._upload.purpose)

    def finish(self) -> ReceivedFile:
        """Nothing is visible yet."""
        self._compare(self._digest.hexdigest())
        upload = self._upload
        return self._intake.finish(self._file_id, upload.filename, upload.purpose, upload.file_lifetime)

    def abort(self) -> None:
        """Leave nothing in the object store."""
        self._intake.abort()

    def _compare(self, md5: str) -> None:
        if self._md5 is not None and self._md5.lower() != md5:
            raise InvalidRequest(
                f"The parts, in this order, have the MD5 {md5}, not {self._md5.lower()}. Send the damaged "
                "part again, and complete the upload with the new one's id.",
                code="checksum_mismatch",
                param="md5",
            )
