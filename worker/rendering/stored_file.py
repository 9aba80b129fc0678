"""Fetches a file from the object store to the disk, and verifies that it is as it was uploaded."""

import hashlib
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from core.errors import JobError
from core.storage.object_store import ObjectStore
from core.tables import File
from worker.rendering.disk_space import require_disk_space
from worker.rows.nameless_file import nameless_file


def fetch(
    store: ObjectStore, file: File, param: str, folder: Path, stop_if_closed: Callable[[], None]
) -> FileIO:
    """Return the file's content, as a file in `folder` that has no name.

    `param` is the request's field that named the file. `stop_if_closed` is called between two chunks; an
    exception that it raises ends the work.

    Raises JobError if the content is gone or differs from what was uploaded: the adapter's manifest names the
    uploaded content. Raises OutsideFault if the disk has no room for it.
    """
    require_disk_space(folder, param, file.bytes)
    content = nameless_file(folder)
    try:
        _copy(store, file, param, content, stop_if_closed)
    except BaseException:
        content.close()  # the error's traceback may hold the file much longer
        raise
    return content


def _copy(
    store: ObjectStore, file: File, param: str, content: FileIO, stop_if_closed: Callable[[], None]
) -> None:
    digest = hashlib.sha256()
    try:
        chunks = store.read(file.object_key)
    except FileNotFoundError as error:
        raise JobError(
            "file_not_found",
            f"The stored content of {file.id} is gone: upload the file again, and use the new file.",
            param,
        ) from error
    for chunk in chunks:
        stop_if_closed()
        content.write(chunk)
        digest.update(chunk)
    if digest.hexdigest() != file.sha256:
        raise JobError(
            "damaged_file",
            f"The stored content of {file.id} is not what was uploaded: upload it again, and use the new "
            "file.",
            param,
        )
