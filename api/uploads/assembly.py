"""Joins the parts of an upload into one object, while they stream from the object store and back."""

import hashlib
from collections.abc import Iterator

from api.files.intake import FileIntake, ReceivedFile
from api.http import downloads
from core.datasets.images import ImageCheck
from core.errors import InvalidRequest
from core.storage.object_store import ObjectStore, file_key, upload_prefix
from core.tables import Upload


def stored_parts(store: ObjectStore, upload: Upload, part_ids: list[str]) -> Iterator[bytes]:
    """Yield the bytes of the parts, in this order. Raises NotFound if the store has lost one."""
    for part_id in part_ids:
        yield from downloads.stored_bytes(store, upload_prefix(upload.id) + part_id, part_id)


class Assembly:
    """Takes the bytes by `feed`, and then `finish` or `abort`.

    Raises InvalidRequest if rows or the checksum are wrong.
    """

    def __init__(
        self,
        store: ObjectStore,
        upload: Upload,
        file_id: str,
        md5: str | None,
        max_row_bytes: int,
        images: ImageCheck,
    ) -> None:
        """The object becomes the content of the file with this id, which has been opened."""
        self._upload = upload
        self._md5 = md5
        self._file_id = file_id
        key = file_key(upload.project_id, file_id)
        self._intake = FileIntake(
            store, key, max_bytes=upload.bytes, max_row_bytes=max_row_bytes, images=images
        )
        self._digest = hashlib.md5(usedforsecurity=False)

    def feed(self, block: bytes) -> None:
        self._digest.update(block)
        self._intake.write(block, self._upload.purpose)

    def finish(self) -> ReceivedFile:
        """Check the whole file, and commit the object. No client sees the file yet."""
        self._compare(self._digest.hexdigest())
        upload = self._upload
        return self._intake.finish(self._file_id, upload.filename, upload.purpose, upload.file_lifetime)

    def abort(self) -> None:
        """Remove what was written to the object store."""
        self._intake.abort()

    def _compare(self, md5: str) -> None:
        if self._md5 is not None and self._md5.lower() != md5:
            raise InvalidRequest(
                f"The parts in this order have the MD5 {md5}, not {self._md5.lower()}. Send the damaged "
                "part again, and complete the upload with the id of the new part.",
                code="checksum_mismatch",
                param="md5",
            )
