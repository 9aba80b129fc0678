"""The dataset that a task makes: its content, its row and its name."""

from pathlib import PurePath
from typing import IO, Any

from core.datasets.kinds import PURPOSE, Kind
from core.errors import JobError
from core.ids import new_id
from core.tables import File
from worker.rendering.preparation.written import WrittenRows
from worker.tasks.frame.work import Work

CONTENT = "dataset.jsonl"  # the file's name in the task's folder


class Rows(WrittenRows):
    """The rows of the new dataset. Their bytes are limited: a small file may expand much."""

    def __init__(self, content: IO[bytes], max_bytes: int) -> None:
        super().__init__(content)
        self._max_bytes, self._bytes = max_bytes, 0

    def write(self, row: bytes, kind: Kind) -> None:
        """Write a row of a kind on a line of its own. Raises JobError if the file would become too large."""
        self._bytes += len(row) + 1
        if self._bytes > self._max_bytes:
            message = (
                f"The new file would have more than {self._max_bytes:,} bytes. Split the file into several "
                "ones, and make a new file of each."
            )
            raise JobError("file_too_large", message, "file_id")
        super().write(row, kind)


def made_file(
    work: Work, source: File, *, word: str, rows: Rows, kind: Kind | None, lineage: dict[str, Any]
) -> File:
    """Return the row of a file made of `source`, with these `rows`. `word` says in its name what was done."""
    return File(
        id=new_id("file-"),
        project_id=work.task.project_id,
        filename=f"{PurePath(source.filename).stem}.{word}.jsonl",
        purpose=PURPOSE,
        rows=rows.count,
        kind=kind,
        needs=rows.needs or None,
        longest_line=rows.longest_line,
        lineage={"type": work.task.kind, "task": work.task.id, "file": source.id, **lineage},
    )
