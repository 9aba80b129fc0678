"""A job's dataset as it lies in the object store: read once, and compared with what was uploaded."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from core.datasets.check import read_rows
from core.errors import JobError
from core.models import File
from core.storage import ObjectStore


def stored_rows(store: ObjectStore, file: File, param: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and rows. `param` is the request's field that named the file.

    Raises JobError where the content is gone, and after the last row, or at the first that cannot be read,
    where it is not what was uploaded: the adapter's manifest will say that it was trained on that.
    """
    digest = hashlib.sha256()
    try:
        yield from read_rows(_hashed(store.read(file.object_key), digest))
    except FileNotFoundError as error:
        raise JobError("file_not_found", f"The content of {file.id} is gone.", param) from error
    except ValueError as error:
        raise _damaged(file, param) from error
    if digest.hexdigest() != file.sha256:
        raise _damaged(file, param)


def _hashed(chunks: Iterable[bytes], digest: Any) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _damaged(file: File, param: str) -> JobError:
    message = (
        f"The stored content of {file.id} is not what was uploaded: upload it again, and create a new job."
    )
    return JobError("damaged_file", message, param)
