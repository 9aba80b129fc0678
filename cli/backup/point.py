"""The point of a backup: a time up to which a restored database reads its log."""

import time
from datetime import datetime
from typing import Any

from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Engine, TextClause, text
from sqlalchemy.exc import ProgrammingError

POLL_SECONDS = 0.05
ARCHIVE_DEADLINE = 300.0

NOW = text("SELECT clock_timestamp()")
NEXT = text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
HAS_ENDED = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= :limit")
# Recovery ends at the first commit behind its time, so there must be one
MARK = text("SELECT pg_logical_emit_message(true, 'tunery', 'backup')")
SEGMENT = text("SELECT pg_walfile_name(pg_current_wal_insert_lsn() - 1)")
SWITCH = text("SELECT pg_switch_wal()")
ARCHIVED = text("SELECT last_archived_wal >= :segment FROM pg_stat_archiver")


def begin_point(engine: Engine) -> datetime:
    """Return the database's time, once every transaction that has committed by then can be seen."""
    at: datetime = _scalar(engine, NOW)
    limit = _scalar(engine, NEXT)  # a snapshot of its own, behind that time
    while True:
        if _scalar(engine, HAS_ENDED, limit=limit):
            return at
        time.sleep(POLL_SECONDS)


def end_point(engine: Engine) -> bool:
    """Write a commit to the log, and wait until it is archived. Return whether it is.

    A role that may not end a segment leaves that to the `archive_timeout` of its Postgres.
    """
    with engine.begin() as connection:
        connection.execute(MARK)
    segment = _scalar(engine, SEGMENT)
    try:
        with engine.begin() as connection:
            connection.execute(SWITCH)
    except ProgrammingError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        return False
    give_up = time.monotonic() + ARCHIVE_DEADLINE
    while time.monotonic() < give_up:
        if _scalar(engine, ARCHIVED, segment=segment):
            return True
        time.sleep(POLL_SECONDS)
    return False


def _scalar(engine: Engine, query: TextClause, **values: Any) -> Any:
    with engine.connect() as connection:
        return connection.scalar(query, values)
