"""Reads a job's files: fetches them from the object store, and has their rows rendered beside the trainer."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from io import FileIO
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any, TypeVar

import structlog
from sqlalchemy.orm import Session

from core.datasets.checks.report import DataFinding
from core.datasets.preparation.requests import Preparation
from core.errors import JobError, LeaseLost
from core.jobs import lifecycle, token_counts
from core.jobs.lifecycle import READING_DATA
from core.jobs.spec import JobSpec
from core.methods.low_rank import invocation_of
from core.objectives.distillation import Distillation
from core.objectives.registry import OBJECTIVES
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import File, Job, TokenCount
from worker.dataset_checks.content_check import RowsOfFile
from worker.engine.base.base_model import ResidentBase
from worker.rendering.data_check import told
from worker.rendering.disk_space import require_disk_space
from worker.rendering.fingerprint import beginning
from worker.rendering.preparation.preparing import Prepared
from worker.rendering.render_request import PrepareRequest, Rendered, RenderRequest
from worker.rendering.renderer import Renderer
from worker.rendering.stored_file import fetch
from worker.rows.image_store import ImageStore
from worker.rows.row import Row
from worker.rows.row_store import RowStore, Summary
from worker.trainer.reading.image_feed import ImageFeed
from worker.trainer.reading.prepared_files import PreparedFiles
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reading.teacher_tokenizer import refuse_other_tokenizer
from worker.trainer.report.job_lease import JobLease

POLL_SECONDS = 0.2
FIRST_REPORT_SECONDS, REPORT_SECONDS = 5.0, 30.0
ATTEMPTS = 2  # to render a file, if the process that renders it dies

T = TypeVar("T")

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
    training_items: RowItems | None = None
    """What a grader sees of the rows; None for a job without one"""
    validation_items: RowItems | None = None
    images: Sequence[ImageFeed] = ()

    @property
    def next_images(self) -> ImageFeed | None:
        """The images of which some are still to be seen by the base model's tower, if there are any."""
        return next((feed for feed in self.images if not feed.is_done), None)

    def close(self) -> None:
        """Close the files of the rows. After that, no row can be read."""
        for feed in self.images:
            feed.close()
        for rows in (self.training_rows, self.validation_rows, self.training_items, self.validation_items):
            if isinstance(rows, RowStore | RowItems):
                rows.close()


def close_when_read(data: Future[JobData]) -> None:
    """Close the files of the rows: now, or when they have been read if they are still being read."""
    data.add_done_callback(_close)


def _close(data: Future[JobData]) -> None:
    if not data.cancelled() and data.exception() is None:
        data.result().close()


class Readers:
    """The means by which all jobs of a trainer read their files: threads, the process that renders, a folder.

    All jobs of a cohort are read at once. A thread only fetches a file, and waits for the process.
    """

    def __init__(self, settings: Settings, store: ObjectStore, renderer: Renderer) -> None:
        self.threads = ThreadPoolExecutor(settings.cohort_jobs, thread_name_prefix="reader")
        self.settings, self.store, self.renderer = settings, store, renderer
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
        self._training_rows: RowsOfFile | None = None
        self._found: list[DataFinding] = []
        self._opened = ExitStack()
        self._items: dict[str, RowItems] = {}
        self._feeds: list[ImageFeed] = []
        self.data: Future[JobData] = readers.threads.submit(self._read)

    def close(self) -> None:
        """Stop reading: nobody needs the rows any more."""
        self._closed.set()
        self.data.cancel()

    def _read(self) -> JobData:
        """Read the job's data. If that fails, close the files that were opened for it."""
        with self._job_lease.trace.part("job.read_rows"), self._opened:
            data = self._job_data()
            self._opened.pop_all()
        return data

    def _job_data(self) -> JobData:
        self._job_lease.enter(READING_DATA)
        refuse_other_tokenizer(self._spec, self._base.folder, self._readers.settings)
        training_file, validation_file = self._job_lease.commit(self._files)
        if self._spec.preparation is not None and self._job.prepared_file_id is None:
            training_file, validation_file = self._prepare(training_file, self._spec.preparation)
        training_rows, fingerprint = self._rows(training_file, "training_file")
        validation_rows = self._rows(validation_file, "validation_file")[0] if validation_file else ()
        found = [finding.model_dump(mode="json") for finding in self._found]
        self._job_lease.commit(partial(lifecycle.record_data_check, lease=self._job_lease.lease, found=found))
        self._training_rows = None
        held_out = f", {len(validation_rows):,} held out" if validation_file else ""
        message = f"The rows have been read: {len(training_rows):,} to train on{held_out}"
        self._job_lease.event(message, data={"code": "rows_read"})
        return JobData(
            training_file,
            training_rows,
            fingerprint,
            validation_file,
            validation_rows,
            self._items.get("training_file"),
            self._items.get("validation_file"),
            self._feeds,
        )

    def _files(self, session: Session) -> tuple[File, File | None]:
        job = self._job
        validation_file = session.get_one(File, job.validation_file_id) if job.validation_file_id else None
        return session.get_one(File, job.prepared_file_id or job.training_file_id), validation_file

    def _prepare(self, file: File, asked: Preparation) -> tuple[File, File | None]:
        """Make the rows to train on, and to hold out, of the training file, and register them as files."""
        prepared, contents = self._in_render_process(file, "training_file", self._make_rows)
        readers = self._readers
        made = PreparedFiles(self._job, file, asked, prepared)
        made.store(readers.store, self._job_lease, contents, self._stop_if_closed)
        self._job_lease.event(made.message, once_as="rows prepared", data=made.counts)
        made.register(self._job_lease, readers.settings)
        return self._job_lease.commit(self._files)

    def _make_rows(self, content: FileIO, file: File, param: str) -> tuple[Prepared, list[FileIO]]:
        assert self._spec.preparation is not None
        kind = OBJECTIVES[self._spec.objective.type].dataset
        folder = self._readers.folder
        require_disk_space(folder, param, file.bytes * (1 + self._spec.preparation.copies))
        request = PrepareRequest(param, kind, self._spec.preparation, self._spec.seed, folder)
        report = _ReadingReport(self._job_lease, file, param)
        with self._readers.renderer.render(self._base.folder, content, request) as channel:
            prepared = self._result(channel, report)
            return prepared, self._files_of(channel)

    def _rows(self, file: File, param: str) -> tuple[RowStore, str]:
        """Return the rows of a file, and the job's fingerprint with these rows.

        `param` is the request's field that named the file.
        """
        return self._in_render_process(file, param, self._render)

    def _in_render_process(self, file: File, param: str, work: Callable[[FileIO, File, str], T]) -> T:
        """Fetch a file and do `work` with its content, once more if the process that does it dies."""
        readers = self._readers
        with fetch(readers.store, file, param, readers.folder, self._stop_if_closed) as content:
            for _ in range(ATTEMPTS):
                try:
                    return work(content, file, param)
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
        with ExitStack() as opened:
            channel = self._readers.renderer.render(self._base.folder, content, self._request(param))
            opened.enter_context(channel)
            rendered: Rendered = self._result(channel, report)
            entries, values = self._files_of(channel)
            rows = RowStore(entries, values, rendered.summary)
            if rendered.images:
                rows.images = self._feed(channel, len(rendered.images.first_vectors), param)
                opened.pop_all()
        if self._spec.sampled_tokens:
            self._items[param] = self._opened.enter_context(closing(RowItems(content)))
        report.end(rendered.summary.tokens)
        self._keep_count(file, rendered.summary)
        for message, data in rendered.warnings:
            self._job_lease.event(message, level="warn", data=data)
        self._note(rendered)
        return rows, rendered.fingerprint

    def _feed(self, channel: Connection, images: int, param: str) -> ImageStore:
        """Return the store of the images' vectors. It fills as the tower sees what comes from the channel."""
        if isinstance(self._spec.objective, Distillation):
            raise JobError(
                "images_without_teacher", "A teacher reads no images so far: leave them out.", param
            )
        if self._spec.training.devices > 1:
            raise JobError(
                "images_on_several_devices",
                "Rows with images train on one device so far: set training.devices to 1.",
                param,
            )
        assert self._base.tower is not None, "only with a tower, rows have images"
        feed = ImageFeed(channel, images, self._base.tower.new_store(self._readers.folder))
        self._feeds.append(self._opened.enter_context(closing(feed)))
        return feed.store

    def _files_of(self, channel: Connection) -> list[FileIO]:
        """Return the two files that follow a result."""
        return [self._opened.enter_context(FileIO(recv_handle(channel), "rb+")) for _ in range(2)]

    def _note(self, rendered: Rendered) -> None:
        """Tell the client what the check of the rows has found, beside what the warnings have said."""
        if rendered.checked_rows is not None:
            self._training_rows = rendered.checked_rows
        self._found += rendered.findings
        said = {data["code"] for _, data in rendered.warnings}
        for finding in rendered.findings:
            if finding.severity != "note" and finding.code not in said:
                once_as = f"data check {finding.file} {finding.code}"
                data = finding.model_dump(mode="json")
                self._job_lease.event(told(finding), level="warn", data=data, once_as=once_as)

    def _result(self, channel: Connection, report: "_ReadingReport") -> Any:
        """Wait for the result of the process that renders, and report how far it is. Raises its error."""
        while True:
            while not channel.poll(POLL_SECONDS):
                self._stop_if_closed()
            self._stop_if_closed()
            match channel.recv():
                case int(count):
                    report.note(count)
                case Exception() as error:
                    raise error
                case result:
                    return result

    def _request(self, param: str) -> RenderRequest:
        base, objective = self._base, OBJECTIVES[self._spec.objective.type]
        products = str(base.dtype) if base.compute is None else f"{base.dtype}, {base.compute}"
        fingerprint = beginning(self._job.spec, base.source_sha256, base.entry.quantization, products)
        return RenderRequest(
            param=param,
            kind=objective.dataset,
            max_length=self._max_length - self._spec.sampled_tokens,
            max_tokens=self._readers.max_tokens[param],
            companions_seed=self._spec.seed if objective.has_companions else None,
            fingerprint=fingerprint,
            is_checked=True,
            training_rows=self._training_rows,
            folder=self._readers.folder,
            invocation=invocation_of(self._spec.adapter),
            reads_images=base.tower is not None,
        )

    def _keep_count(self, file: File, summary: Summary) -> None:
        """Keep the number of tokens, so that estimates for the same file are exact."""
        count = TokenCount(
            file_id=file.id,
            tokenizer=token_counts.tokenizer_of(self._base.entry),
            rendering=token_counts.rendering_of(self._spec.objective.type),
            max_length=self._max_length,
            rows=summary.rows,
            tokens=summary.tokens,
            longest=summary.longest_row,
            squares=summary.squares,
        )
        self._job_lease.write(lambda session: token_counts.keep(session, count))

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
