"""Measures the loss of single rows before the first step, and of the state that is published."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.strict_json import finite
from core.tables import RowLoss
from worker.engine.step.passes import Abandoned
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row
from worker.rows.row_store import lengths_of
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.report.evaluation import Evaluator
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.neighbours import Losses, above_neighbours

ROWS_AT_ONCE = 1000  # of an insert


class Measured(NamedTuple):
    """A row whose loss is measured, and its part of the job's data."""

    part: str
    row: Row


class Found(NamedTuple):
    """The rows that were measured, with their losses."""

    rows: list[Measured]
    losses: Losses


class RowLosses:
    """The losses of some rows of a job, before and after its training.

    If a part has more rows than `most`, or they have more than `most_tokens`, the rows that are measured lie
    evenly among them.
    """

    def __init__(
        self,
        process_group: ProcessGroup,
        job_lease: JobLease,
        most: int,
        most_tokens: int,
        parts: Mapping[str, Sequence[Row]],
    ) -> None:
        self._process_group, self._job_lease = process_group, job_lease
        self._most, self._most_tokens, self._parts = most, most_tokens, parts
        self._has_begun = self._has_ended = most == 0

    def before_is_due(self, trainee: Trainee) -> bool:
        """Return whether the rows are to be measured before the first step of `trainee`."""
        return not self._has_begun and trainee.step == 0

    @property
    def after_is_due(self) -> bool:
        """Whether the rows are still to be measured with the state that is published."""
        return not self._has_ended

    def measure(self, evaluator: Evaluator, is_trained: bool, abandon: Callable[[], bool]) -> None:
        """Measure the rows if that is due: with a fresh adapter, or if it `is_trained` and to be published.

        If `abandon` ends this early, it stays due.
        """
        trainee = evaluator.trainee
        if self.before_is_due(trainee):
            evaluator.progress("measuring rows")
            if found := self._measure(trainee, abandon):
                self._has_begun = True
                self._write(found.rows, before=found.losses)
            evaluator.progress("training")
        elif is_trained and self.after_is_due:
            evaluator.progress("measuring rows")
            if found := self._measure(trainee, abandon):
                self._has_ended = True
                suspicions = above_neighbours([row for _, row in found.rows], found.losses)
                self._write(found.rows, after=found.losses, suspicion=suspicions)

    def _measure(self, trainee: Trainee, abandon: Callable[[], bool]) -> Found | None:
        rows = [
            Measured(part, row)
            for part, of_file in self._parts.items()
            for row in self._some(of_file, trainee.rows_per_example)
        ]
        asked = [row for _, row in rows]
        try:
            return Found(rows, self._process_group.row_losses(trainee.name, asked, abandon=abandon))
        except Abandoned:
            return None

    def _some(self, rows: Sequence[Row], rows_per_example: int) -> list[Row]:
        """Return the first row of each chosen example: of two answers, the preferred one."""
        lengths = lengths_of(rows)[::rows_per_example]
        places = evenly_chosen(lengths, self._most, self._most_tokens)
        return [rows[int(place) * rows_per_example] for place in places]

    def _write(self, rows: Sequence[Measured], **columns: Losses) -> None:
        values = [
            {
                "job_id": self._job_lease.lease.job_id,
                "part": part,
                "line": row.line,
                "tokens": row.supervised,
                **{name: finite(float(column[place])) for name, column in columns.items()},
            }
            for place, (part, row) in enumerate(rows)
        ]

        def write(session: Session) -> None:
            for begin in range(0, len(values), ROWS_AT_ONCE):
                added = insert(RowLoss).values(values[begin : begin + ROWS_AT_ONCE])
                changed = {name: getattr(added.excluded, name) for name in columns}
                key = [RowLoss.job_id, RowLoss.part, RowLoss.line]
                session.execute(added.on_conflict_do_update(index_elements=key, set_=changed))

        self._job_lease.write(write)


def evenly_chosen(lengths: NDArray[np.int64], most: int, most_tokens: int) -> NDArray[np.int64]:
    """Return the places of examples that lie evenly among all: at most so many, with at most so many tokens.

    All of them are in memory at once, so their number alone is no limit.
    """
    count = min(most, len(lengths))
    while True:
        places = np.arange(count, dtype=np.int64) * len(lengths) // max(1, count)
        if lengths[places].sum() <= most_tokens:
            return places
        count //= 2
