"""The files that a job makes of its training file: the rows to train on, and the rows that are held out.

They are made once. From then on the job reads them, on whatever worker it goes on, and clients download them.
"""

from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import PurePath
from typing import Any

from sqlalchemy.orm import Session

from core import artifacts
from core.access.quotas import Quotas, check_store
from core.artifacts import Owner
from core.datasets.kinds import PURPOSE
from core.datasets.preparation.requests import Preparation
from core.errors import JobError, QuotaExceeded
from core.ids import new_id
from core.settings import Settings
from core.storage.object_store import CHUNK_BYTES, ObjectStore, file_key
from core.tables import File, Job, Project
from worker.rendering.preparation.preparing import Prepared
from worker.trainer.report.job_lease import JobLease


class PreparedFiles:
    """The files of one job: first `store` their bytes, then `register` them."""

    def __init__(self, job: Job, source: File, asked: Preparation, prepared: Prepared) -> None:
        self._job, self._source, self._asked, self._prepared = job, source, asked, prepared
        parts = ["training"] if asked.validation_split is None else ["training", "validation"]
        self._files = [self._file(part) for part in parts]

    @property
    def counts(self) -> dict[str, Any]:
        """How many rows are in which file."""
        found = self._prepared
        return {
            "training": found.training.count,
            "augmented": found.augmented_rows,
            "validation": found.validation.count,
        }

    @property
    def message(self) -> str:
        """What the job tells about its rows."""
        found = self._prepared
        words = [f"The job trains on {found.training.count:,} rows"]
        if found.augmented_rows:
            words.append(f", of which {found.augmented_rows:,} are variants")
        if self._asked.validation_split is not None:
            words.append(f", and {found.validation.count:,} rows are held out")
            words.append(f", in proportion to their {found.answers:,} answers" if found.answers else "")
        if found.all_alike:
            words.append(". Most rows are similar to each other, so only equal rows were kept on one side")
        return "".join(words)

    def store(
        self,
        store: ObjectStore,
        job_lease: JobLease,
        contents: Sequence[FileIO],
        stop_if_closed: Callable[[], None],
    ) -> None:
        """Upload the files, and close `contents`. `stop_if_closed` may raise an error, which ends it."""
        job_lease.commit(self._open)
        for file, content in zip(self._files, contents, strict=False):
            writer = store.writer(file.object_key)
            try:
                content.seek(0)
                while chunk := content.read(CHUNK_BYTES):
                    stop_if_closed()
                    writer.write(chunk)
                writer.commit()
            except BaseException:
                writer.abort()
                raise
            file.bytes, file.sha256 = writer.bytes, writer.sha256
        for content in contents:
            content.close()

    def register(self, job_lease: JobLease, settings: Settings) -> None:
        """Add the files, and name them in the job's row. Raises JobError if they do not fit the quota."""
        named: dict[str, Any] = {"prepared_file_id": self._files[0].id, "prepared_rows": self.counts}
        if len(self._files) > 1:
            named["validation_file_id"] = self._files[1].id

        def write(session: Session) -> None:
            for file in self._files:
                session.merge(file)
                artifacts.keep(session, file.object_key, file.bytes, Owner("file", file.id))
            session.flush()
            quotas = Quotas.of(session.get_one(Project, self._job.project_id), settings)
            check_store(session, self._job.project_id, quotas.stored_bytes)
            _assign(session.get_one(Job, self._job.id), named)

        try:
            job_lease.commit(write)
        except QuotaExceeded as error:
            message = f"The rows to train on are a file of their own. {error}"
            raise JobError("insufficient_quota", message, "training_file") from error
        _assign(self._job, named)

    def _open(self, session: Session) -> None:
        for file in self._files:
            artifacts.open(session, Owner("job", self._job.id), file.object_key, self._job.project_id)

    def _file(self, part: str) -> File:
        source, file_id = self._source, new_id("file-")
        written = self._prepared.training if part == "training" else self._prepared.validation
        return File(
            id=file_id,
            project_id=self._job.project_id,
            object_key=file_key(self._job.project_id, file_id),
            filename=f"{PurePath(source.filename).stem}.{part}.jsonl",
            purpose=PURPOSE,
            rows=written.count,
            kind=source.kind,
            needs=written.needs or None,
            longest_line=written.longest_line,
            lineage={
                "type": "job",
                "job": self._job.id,
                "file": source.id,
                "part": part,
                **self._asked.model_dump(mode="json", exclude_none=True),
            },
        )


def _assign(job: Job, named: dict[str, Any]) -> None:
    for name, value in named.items():
        setattr(job, name, value)
