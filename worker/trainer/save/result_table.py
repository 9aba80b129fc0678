"""Writes a job's metrics as a CSV table into the object store, page by page, as there may be millions."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.storage.object_store import ObjectStore, ObjectWriter
from core.tables import Metric
from worker.trainer.report.job_lease import JobLease

PAGE_STEPS = 5000
RESULT_COLUMNS = {
    "step": "step",
    "train_loss": "train_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_mean_token_accuracy",
}

Page = Sequence[tuple[int, dict[str, Any]]]


def write_result_table(
    store: ObjectStore, key: str, job_lease: JobLease, page_steps: int = PAGE_STEPS
) -> ObjectWriter:
    """Write the table in UTF-8 to `key`, and return its writer, which knows its size and hash.

    Each page of `page_steps` is read in a transaction of its own. The first one writes the pending metrics.
    Raises LeaseLost.
    """
    writer = store.writer(key)
    try:
        writer.write(_csv([list(RESULT_COLUMNS)]))
        for page in _pages(job_lease, page_steps):
            writer.write(_csv([data.get(field) for field in RESULT_COLUMNS.values()] for _, data in page))
        writer.commit()
    except BaseException:
        writer.abort()
        raise
    return writer


def _pages(job_lease: JobLease, page_steps: int) -> Iterator[Page]:
    """Yield the job's metrics by step."""
    last_step = 0
    while page := job_lease.commit(partial(_page_after, job_lease.lease.job_id, last_step, page_steps)):
        yield page
        last_step = page[-1][0]


def _page_after(job_id: str, step: int, page_steps: int, session: Session) -> Page:
    query = select(Metric.step, Metric.data).where(Metric.job_id == job_id, Metric.step > step)
    return [(step, data) for step, data in session.execute(query.order_by(Metric.step).limit(page_steps))]


def _csv(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
