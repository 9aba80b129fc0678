"""Shared parts of the janitor's removals: batches of rows, and failures."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import ColumnElement, Executable, Select, Text, any_, column, delete, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.storage.object_store import STORE_ERRORS
from core.tables import Base

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
    batch_rows: int = BATCH_ROWS,
) -> None:
    """Delete the rows that meet the conditions, each `batch_rows` of them in a transaction of its own.

    So millions of rows exceed no time limit, and after a failure the next round goes on with the rest. Each
    transaction begins with the statement `first`.
    """
    statement = _delete_batch(table, batch_rows, *conditions)
    found = True
    while found:
        with sessions.begin() as session:
            if first is not None:
                session.execute(first)
            found = session.scalars(statement).one() > 0


def _delete_batch(table: type[Base], rows: int, *conditions: ColumnElement[bool]) -> Select[int]:
    """Return the statement that deletes a batch of so many rows, and counts how many rows it has found.

    It may delete fewer than it has found: another janitor may be deleting the same rows.
    """
    address = column("ctid", Text)  # of a row, as Postgres stores it
    batch = select(address).select_from(table).where(*conditions).limit(rows).cte("batch")
    found = func.array(select(batch.c.ctid).scalar_subquery())
    deleted = delete(table).where(address == any_(found)).cte("deleted")
    return select(func.count()).select_from(batch).add_cte(deleted)
