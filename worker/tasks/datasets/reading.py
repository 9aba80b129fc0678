"""Reads a stored file of any format as a stream, and says how far the work is."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from core.datasets.findings import Finding
from core.datasets.formats.reading import Dataset, open_dataset
from core.datasets.formats.unreadable import TOO_MUCH_MEMORY, Unreadable
from core.errors import JobError
from core.tables import File
from worker.tasks.frame.work import Work

TOO_MANY_ROWS = "Of this file, at most {:,} rows can be read here. Split it into several files."


class Phase(NamedTuple):
    """A phase of the work: its name, and the shares of the whole work at its begin and its end."""

    name: str
    begins: float
    ends: float


def file_of(work: Work, file_id: str, param: str) -> File:
    """Return a file's row. Raises JobError if the file has been deleted since the task was created."""
    with work.sessions() as session:
        file = session.get_one(File, file_id)
    if file.deleted_at is not None:
        raise JobError("file_not_found", f"The file {file_id} has been deleted meanwhile.", param)
    return file


def most_bytes(work: Work, file: File) -> int:
    """Return how many bytes a file may have when expanded, and a file that is made of it."""
    return max(file.bytes, work.settings.max_file_bytes)


def open_rows(work: Work, file: File, phase: Phase, most_rows: int, param: str = "file_id") -> Dataset:
    """Recognise a file's format, and return its rows, up to a limit.

    Raises JobError, also while the rows are read.
    """
    chunks, most_of_row = chunks_of(work, file, phase, param), work.settings.longest_row_bytes
    try:
        dataset = open_dataset(chunks, most_bytes(work, file), most_of_row)
    except Unreadable as error:
        raise _job_error(error, param) from error
    except MemoryError as error:
        raise JobError("too_much_memory", TOO_MUCH_MEMORY, param) from error
    return dataset._replace(rows=_rows(dataset, most_rows, param))


def _rows(dataset: Dataset, most_rows: int, param: str) -> Iterator[tuple[int, bytes | Finding]]:
    try:
        for count, row in enumerate(dataset.rows, 1):
            if count > most_rows:
                raise JobError("too_many_rows", TOO_MANY_ROWS.format(most_rows), param)
            yield row
    except Unreadable as error:
        raise _job_error(error, param) from error
    except MemoryError as error:
        raise JobError("too_much_memory", TOO_MUCH_MEMORY, param) from error


def _job_error(error: Unreadable, param: str) -> JobError:
    message = f"{error.prefix}{error}."
    return JobError(error.code, message[:1].upper() + message[1:], param)


def chunks_of(work: Work, file: File, phase: Phase, param: str) -> Iterator[bytes]:
    """Yield the bytes of a file in chunks.

    Raises JobError if they are gone, and at the end if they are not those that were uploaded.
    """
    work.progress(phase.name, phase.begins)
    digest, read = hashlib.sha256(), 0
    try:
        for chunk in work.store.read(file.object_key):
            digest.update(chunk)
            read += len(chunk)
            yield chunk
            share = read / max(file.bytes, read)
            work.progress(phase.name, phase.begins + share * (phase.ends - phase.begins))
    except FileNotFoundError as error:
        message = f"The stored content of {file.id} is gone: upload the file again, and use the new file."
        raise JobError("file_not_found", message, param) from error
    if digest.hexdigest() != file.sha256:
        message = f"The stored content of {file.id} is not what was uploaded: upload the file again."
        raise JobError("damaged_file", message, param)
