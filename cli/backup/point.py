"""The point of a backup: a time up to which a restored database reads its log."""

import time
from datetime import datetime
from typing import Any

from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Engine, TextClause, text
from sqlalchemy.exc import ProgrammingError

from cli.client.errors import GaveUp

POLL_SECONDS = 0.05
ARCHIVE_DEADLINE = 300.0
BEGIN_SECONDS = 120.0  # seconds; transactions of ours end within one minute

NOW = text("SELECT clock_timestamp()")
# A new transaction's number is behind those of all others. The end of a snapshot is behind those alone that
# have ended
NEXT = text("SELECT pg_current_xact_id()::text::bigint")
HAS_ENDED = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= :limit")
HELD_UP_BY = text("""
SELECT string_agg(format('process %s (user %s, %s, begun at %s)', pid, usename, state, xact_start), '; ')
FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
""")
ARCHIVE_MODE = text("SELECT current_setting('archive_mode')")
# Recovery ends at the first commit behind its time, so there must be one
MARK = text("SELECT pg_logical_emit_message(true, 'tunery', 'backup')")
SEGMENT = text("SELECT pg_walfile_name(pg_current_wal_insert_lsn() - 1)")
SWITCH = text("SELECT pg_switch_wal()")
ARCHIVED = text("SELECT last_archived_wal >= :segment FROM pg_stat_archiver")


def begin_point(engine: Engine, give_up_seconds: float = BEGIN_SECONDS) -> datetime:
    """Return the database's time, once every transaction that has committed by then can be seen.

    Raises GaveUp if a transaction stays open, and names its session.
    """
    at: datetime = _scalar(engine, NOW)
    limit = _scalar(engine, NEXT)
    give_up = time.monotonic() + give_up_seconds
    while not _scalar(engine, HAS_ENDED, limit=limit):
        if time.monotonic() > give_up:
            held_by = _scalar(engine, HELD_UP_BY) or "a session that this role cannot see"
            raise GaveUp(
                f"The backup waits for the end of a transaction that is open for {give_up_seconds:.0f} s: "
                f"{held_by}. End it with SELECT pg_terminate_backend(PROCESS), and run the backup again"
            )
        time.sleep(POLL_SECONDS)
    return at


def end_point(engine: Engine) -> bool:
    """Write a commit to the log, and wait until it is archived. Return whether it is.

    Where Postgres archives nothing, nobody waits.
    A role that may not end a segment leaves that to the `archive_timeout` of its Postgres.
    """
    with engine.begin() as connection:
        connection.execute(MARK)
    if _scalar(engine, ARCHIVE_MODE) == "off":
        return False
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
