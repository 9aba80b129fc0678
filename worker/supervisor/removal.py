"""Shared parts of the janitor's removals: batches of rows, the objects that rows name, and failures."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import ColumnElement, Executable, Select, Text, any_, column, delete, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.storage.object_store import STORE_ERRORS
from core.tables import Adapter, Base, Checkpoint, File, Job, Task

BATCH_ROWS = 10_000

log = structlog.get_logger()


@contextmanager
def log_failure(what: str) -> Iterator[None]:
    """Log a failure of the database or the store, and go on: the janitor's next round tries again."""
    try:
        yield
    except (SQLAlchemyError, *STORE_ERRORS) as error:
        log.warning("not_removed", what=what, error=str(error))


def delete_in_batches(
    sessions: sessionmaker[Session],
    table: type[Base],
    *conditions: ColumnElement[bool],
    first: Executable | None = None,
) -> None:
    """Delete the rows that meet the conditions, each BATCH_ROWS of them in a transaction of its own.

    So millions of rows exceed no time limit, and after a failure the next round goes on with the rest. Each
    transaction begins with the statement `first`.
    """
    statement = _delete_batch(table, *conditions)
    found = True
    while found:
        with sessions.begin() as session:
            if first is not None:
                session.execute(first)
            found = session.scalars(statement).one() > 0


def _delete_batch(table: type[Base], *conditions: ColumnElement[bool]) -> Select[int]:
    """Return the statement that deletes a batch of rows, and counts how many rows it has found.

    It may delete fewer than it has found: another janitor may be deleting the same rows.
    """
    address = column("ctid", Text)  # of a row, as Postgres stores it
    batch = select(address).select_from(table).where(*conditions).limit(BATCH_ROWS).cte("batch")
    found = func.array(select(batch.c.ctid).scalar_subquery())
    deleted = delete(table).where(address == any_(found)).cte("deleted")
    return select(func.count()).select_from(batch).add_cte(deleted)


def named_objects(session: Session, job_ids: Collection[str]) -> list[str]:
    """Return the prefixes and keys of all objects that rows of these jobs need.

    They are the prefixes of checkpoints and adapters, and the keys of result files and prepared files.
    """
    queries: tuple[Select[str], ...] = (
        select(Checkpoint.object_prefix).where(Checkpoint.job_id.in_(job_ids)),
        select(Adapter.object_prefix).where(Adapter.job_id.in_(job_ids), Adapter.deleted_at.is_(None)),
        select(File.object_key)
        .join(Job, File.id.in_((Job.result_file_id, Job.prepared_file_id, Job.validation_file_id)))
        .where(Job.id.in_(job_ids), File.deleted_at.is_(None)),
    )
    return [named for query in queries for named in session.scalars(query)]


def objects_of_tasks(session: Session, task_ids: Collection[str]) -> list[str]:
    """Return the prefixes and keys of all objects that these tasks, or what they have made, need."""
    queries: tuple[Select[str | None], ...] = (
        select(Task.object_prefix).where(Task.id.in_(task_ids), Task.deleted_at.is_(None)),
        select(Adapter.object_prefix)
        .join(Task, Task.adapter_id == Adapter.id)
        .where(Task.id.in_(task_ids), Adapter.deleted_at.is_(None)),
        select(File.object_key)
        .join(Task, Task.made_file_id == File.id)
        .where(Task.id.in_(task_ids), File.deleted_at.is_(None)),
    )
    named = [named for query in queries for named in session.scalars(query) if named is not None]
    of_tasks = select(Adapter.files).join(Task, Task.adapter_id == Adapter.id)
    living = of_tasks.where(Task.id.in_(task_ids), Adapter.deleted_at.is_(None))
    return named + [file["key"] for files in session.scalars(living) for file in files if "key" in file]
