"""Reads a job's files from the object store, verifies that they are as uploaded, and renders their rows."""

import hashlib
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from core.datasets.check import read_rows
from core.errors import JobError, LeaseLost
from core.jobs.lifecycle import READING_DATA
from core.jobs.spec import JobSpec
from core.objectives.registry import OBJECTIVES
from core.storage.object_store import ObjectStore
from core.tables import File, Job
from worker.data.render import render
from worker.objectives.choose import rows_for
from worker.report.job_lease import JobLease
from worker.rows import Row


@dataclass(frozen=True)
class JobData:
    """The rows for training and for validation, and the files that they come from."""

    training_file: File
    training_rows: list[Row]
    validation_file: File | None
    validation_rows: list[Row]


class DataReader:
    """Reads a job's files in a thread of `readers`, while other jobs train.

    `data` is the future of the result. If reading fails, it raises a JobError, or an error of the database or
    the store. The client gets an event about rows that were cut or skipped.
    """

    def __init__(
        self,
        job: Job,
        tokenizer: Any,
        max_length: int,
        store: ObjectStore,
        job_lease: JobLease,
        readers: Executor,
    ) -> None:
        """Begin to read. Rows are cut to `max_length` tokens."""
        self._job = job
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._spec = JobSpec.model_validate(job.spec)
        self._store = store
        self._job_lease = job_lease
        self._closed = threading.Event()
        self.data: Future[JobData] = readers.submit(self._read)

    def close(self) -> None:
        """Stop reading: nobody needs the rows any more."""
        self._closed.set()
        self.data.cancel()

    def _read(self) -> JobData:
        self._job_lease.enter(READING_DATA)
        training_file, validation_file = self._job_lease.commit(self._files)
        return JobData(
            training_file,
            self._rows(training_file, "training_file"),
            validation_file,
            self._rows(validation_file, "validation_file") if validation_file else [],
        )

    def _files(self, session: Session) -> tuple[File, File | None]:
        validation_id = self._job.validation_file_id
        validation_file = session.get_one(File, validation_id) if validation_id else None
        return session.get_one(File, self._job.training_file_id), validation_file

    def _rows(self, file: File, param: str) -> list[Row]:
        """Return the rows of a file. `param` is the request's field that named the file."""
        stored = stored_rows(self._store, file, param)
        kind = OBJECTIVES[self._spec.objective.type].dataset
        rendered = render(self._tokenizer, stored, self._max_length, param, self._stop_if_closed, kind)
        for message, data in rendered.warnings(param, self._max_length):
            self._job_lease.event(message, level="warn", data=data)
        return rows_for(self._spec, rendered.rows, self._max_length)

    def _stop_if_closed(self) -> None:
        if self._closed.is_set():
            raise LeaseLost("the job has left while its rows were read")


def stored_rows(store: ObjectStore, file: File, param: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and the row of each line. `param` is the request's field that named the file.

    Raises JobError if the content is gone. Also raises JobError, at the first unreadable row or after the
    last row, if the content differs from what was uploaded: the adapter's manifest names the uploaded
    content.
    """
    digest = hashlib.sha256()
    try:
        yield from read_rows(_hashed(store.read(file.object_key), digest))
    except FileNotFoundError as error:
        raise JobError(
            "file_not_found",
            f"The stored content of {file.id} is gone: upload the file again, and create a new job.",
            param,
        ) from error
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
