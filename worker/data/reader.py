"""Reads a job's files: fetches them from the object store, and has their rows rendered beside the trainer."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from multiprocessing.reduction import recv_handle

import structlog
from sqlalchemy.orm import Session

from core.errors import JobError, LeaseLost
from core.jobs.lifecycle import READING_DATA
from core.jobs.spec import JobSpec
from core.objectives.registry import OBJECTIVES
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import File, Job
from worker.data.fingerprint import beginning
from worker.data.render_request import Rendered, RenderRequest
from worker.data.renderer import Renderer
from worker.data.stored_file import fetch
from worker.engine.base.base_model import ResidentBase
from worker.report.job_lease import JobLease
from worker.row_store import RowStore
from worker.rows import Row

POLL_SECONDS = 0.2
FIRST_REPORT_SECONDS, REPORT_SECONDS = 5.0, 30.0
ATTEMPTS = 2  # to render a file, if the process that renders it dies

log = structlog.get_logger()


@dataclass(frozen=True)
class JobData:
    """The rows for training and for validation, and the files that they come from.

    `fingerprint` is that of the job with the training rows.
    """

    training_file: File
    training_rows: RowStore
    fingerprint: str
    validation_file: File | None
    validation_rows: Sequence[Row]


class Readers:
    """The means by which all jobs of a trainer read their files: threads, the process that renders, a folder.

    All jobs of a cohort are read at once. A thread only fetches a file, and waits for the process.
    """

    def __init__(self, settings: Settings, store: ObjectStore, renderer: Renderer) -> None:
        self.threads = ThreadPoolExecutor(settings.cohort_jobs, thread_name_prefix="reader")
        self.store, self.renderer = store, renderer
        self.folder = settings.rows_folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.max_tokens = {
            "training_file": settings.max_training_tokens,
            "validation_file": settings.max_validation_tokens,
        }


class DataReader:
    """Reads a job's files in a thread of `readers`, while other jobs train.

    `data` is the future of the result. If reading fails, it raises a JobError, an OutsideFault, or an error
    of the database, the store or the disk. The client gets an event about rows that were cut or skipped, and
    events that say how far the reading is, if it takes long.
    """

    def __init__(
        self, job: Job, base: ResidentBase, max_length: int, job_lease: JobLease, readers: Readers
    ) -> None:
        """Begin to read. Rows are cut to `max_length` tokens."""
        self._job = job
        self._base = base
        self._max_length = max_length
        self._spec = JobSpec.model_validate(job.spec)
        self._job_lease = job_lease
        self._readers = readers
        self._closed = threading.Event()
        self.data: Future[JobData] = readers.threads.submit(self._read)

    def close(self) -> None:
        """Stop reading: nobody needs the rows any more."""
        self._closed.set()
        self.data.cancel()

    def _read(self) -> JobData:
        self._job_lease.enter(READING_DATA)
        training_file, validation_file = self._job_lease.commit(self._files)
        training_rows, fingerprint = self._rows(training_file, "training_file")
        validation_rows = self._rows(validation_file, "validation_file")[0] if validation_file else ()
        return JobData(training_file, training_rows, fingerprint, validation_file, validation_rows)

    def _files(self, session: Session) -> tuple[File, File | None]:
        validation_id = self._job.validation_file_id
        validation_file = session.get_one(File, validation_id) if validation_id else None
        return session.get_one(File, self._job.training_file_id), validation_file

    def _rows(self, file: File, param: str) -> tuple[RowStore, str]:
        """Return the rows of a file, and the job's fingerprint with these rows.

        `param` is the request's field that named the file.
        """
        readers = self._readers
        with fetch(readers.store, file, param, readers.folder, self._stop_if_closed) as content:
            for _ in range(ATTEMPTS):
                try:
                    return self._render(content, file, param)
                except (EOFError, ConnectionError):
                    log.warning("rendering_died", job=self._job.id, file=file.id)
        raise JobError(
            "rows_not_rendered",
            f"The process that reads the {param.replace('_', ' ')} died {ATTEMPTS} times, most often because "
            "memory ran out, or because a row is too much for the base model's tokenizer. Shorten the "
            "longest rows of the file, or ask the operator.",
            param,
        )

    def _render(self, content: FileIO, file: File, param: str) -> tuple[RowStore, str]:
        """Have the file rendered. Raises EOFError or ConnectionError if the process that renders it dies."""
        report = _ReadingReport(self._job_lease, file, param)
        readers = self._readers
        with readers.renderer.render(self._base.folder, content, self._request(param)) as channel:
            while True:
                while not channel.poll(POLL_SECONDS):
                    self._stop_if_closed()
                self._stop_if_closed()
                match channel.recv():
                    case int(count):
                        report.note(count)
                    case Rendered() as rendered:
                        entries, values = (FileIO(recv_handle(channel), "rb+") for _ in range(2))
                        break
                    case error:
                        raise error
        report.end(rendered.summary.tokens)
        for message, data in rendered.warnings:
            self._job_lease.event(message, level="warn", data=data)
        return RowStore(entries, values, rendered.summary), rendered.fingerprint

    def _request(self, param: str) -> RenderRequest:
        base, objective = self._base, OBJECTIVES[self._spec.objective.type]
        products = str(base.dtype) if base.compute is None else f"{base.dtype}, {base.compute}"
        fingerprint = beginning(self._job.spec, base.source_sha256, base.entry.quantization, products)
        return RenderRequest(
            param=param,
            kind=objective.dataset,
            max_length=self._max_length,
            max_tokens=self._readers.max_tokens[param],
            companions_seed=self._spec.seed if objective.has_companions else None,
            fingerprint=fingerprint,
            folder=self._readers.folder,
        )

    def _stop_if_closed(self) -> None:
        if self._closed.is_set():
            raise LeaseLost("the job has left while its rows were read")


class _ReadingReport:
    """Events that tell a job's client how far the reading of a file is, if it takes long."""

    def __init__(self, job_lease: JobLease, file: File, param: str) -> None:
        self._job_lease, self._file = job_lease, file
        self._name = param.replace("_", " ")
        self._due = time.monotonic() + FIRST_REPORT_SECONDS
        self._reported = False

    def note(self, rows: int) -> None:
        """Take in how many rows have been read, and report it if a report is due."""
        if (now := time.monotonic()) < self._due:
            return
        self._due, self._reported = now + REPORT_SECONDS, True
        of = f" of {self._file.rows:,}" if self._file.rows else ""
        self._job_lease.event(
            f"Reading the {self._name}: {rows:,}{of} rows",
            data={"file": self._file.id, "rows_read": rows, "rows": self._file.rows},
        )

    def end(self, tokens: int) -> None:
        """Report the end, if anything was reported before."""
        if self._reported:
            self._job_lease.event(f"The {self._name} has been read: {tokens:,} tokens")
