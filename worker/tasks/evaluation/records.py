"""The records of a run's task: a file is uploaded as soon as it is finished.

So another process goes on from what an earlier one has uploaded. It takes a file only if the file is whole
and its items are still those of the data source.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from core.evals.criteria import Criterion
from core.evals.results import ROWS_IN_A_FILE, Record, file_of
from core.storage.object_store import tasks_prefix
from worker.grading.named_images import with_named_images
from worker.tasks.evaluation.record_files import RecordFiles
from worker.tasks.evaluation.rows.items import Items
from worker.tasks.frame.work import Work

log = structlog.get_logger()


class Records(RecordFiles):
    """The records of a task: those of finished files are in the store too."""

    def __init__(self, work: Work, folder: Path, items: Items, criteria: Sequence[Criterion]) -> None:
        super().__init__(folder, len(items), criteria, items.samples)
        self._work, self._items, self._criteria = work, items, criteria

    def resume(self) -> None:
        """Take over what earlier attempts have uploaded. Raises STORE_ERRORS."""
        prefix = tasks_prefix(self._work.task.kind, self._work.task.id)
        for key in self._work.store.list(prefix):
            name = key.rpartition("/")[2]
            first = self._first_row(name)
            if first is None or first in self._done:
                continue
            with suppress(FileNotFoundError):
                content = b"".join(self._work.store.read(key))
                records = self._checked(content, first)
                if records is None:
                    log.warning("records_not_resumed", task=self._work.task.id, key=key)
                    continue
                (self._folder / name).write_bytes(content)
                for record in records:
                    self._note(record)

    def upload(self, name: str) -> None:
        """Upload a finished file. Raises STORE_ERRORS, and JobError if it does not fit into the quota."""
        self._work.check_room(self._folder)
        self._work.store.put_file(self._work.prefix + name, self._folder / name)

    def _first_row(self, name: str) -> int | None:
        """Return the first row of the file with this name, or None if no file of this run has it."""
        return next((i for i in range(0, len(self._items), ROWS_IN_A_FILE) if file_of(i) == name), None)

    def _checked(self, content: bytes, first: int) -> list[Record] | None:
        """Return the records of a file, or None if the file is not whole or has other items than now."""
        try:
            records = [Record.model_validate_json(line) for line in content.splitlines()]
        except ValueError:
            return None
        rows = self._rows_of(first)
        whole = [record.index for record in records] == list(rows)
        judged = all(
            record.error is not None or len(record.results) == len(self._criteria) for record in records
        )
        same = whole and all(
            record.item == with_named_images(self._items[record.index].item) for record in records
        )
        return records if judged and same else None
