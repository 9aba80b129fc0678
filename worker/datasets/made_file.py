"""The row of a dataset that a task makes, and its name."""

from pathlib import PurePath
from typing import Any

from core.datasets.kinds import Kind
from core.ids import new_id
from core.tables import File
from worker.tasks.process import Work

CONTENT = "dataset.jsonl"  # the file's name in the task's folder
PURPOSE = "fine-tune"


def made_file(
    work: Work, source: File, *, word: str, rows: int, kind: Kind | None, lineage: dict[str, Any]
) -> File:
    """Return the row of a file made of `source`. `word` says in its name what was done."""
    return File(
        id=new_id("file-"),
        project_id=work.task.project_id,
        filename=f"{PurePath(source.filename).stem}.{word}.jsonl",
        purpose=PURPOSE,
        rows=rows,
        kind=kind,
        lineage={"type": work.task.kind, "task": work.task.id, "file": source.id, **lineage},
    )
