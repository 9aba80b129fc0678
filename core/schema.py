"""The schema of the database: functions that update it and check whether it is current."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from core.database import SESSION_SETTINGS, is_pooled
from core.errors import ConfigurationError

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"

# Milliseconds that a statement of a migration waits for a lock. While it waits, every later statement on the
# table waits behind it, and so do all requests. So it gives up soon, lets the others pass, and tries again.
LOCK_TIMEOUT = 3_000
LOCK_TIMEOUT_CONCURRENTLY = 600_000  # of a statement behind which nobody waits
PAUSE_SECONDS = 1.0
GIVE_UP_SECONDS = 60.0  # after the first try

LOCK_HOLDERS = """
SELECT
    activity.pid, activity.usename, activity.application_name, activity.state,
    CAST(date_trunc('second', now() - activity.xact_start) AS text) AS age,
    string_agg(DISTINCT CAST(pg_locks.relation AS regclass)::text, ', ') AS tables
FROM pg_locks
    JOIN pg_class ON pg_class.oid = pg_locks.relation AND pg_class.relkind = 'r'
    JOIN pg_stat_activity activity ON activity.pid = pg_locks.pid
WHERE
    pg_locks.granted AND pg_class.relnamespace = CAST(current_schema() AS regnamespace)
    AND activity.datname = current_database() AND activity.pid <> pg_backend_pid()
GROUP BY activity.pid, activity.usename, activity.application_name, activity.state, activity.xact_start
ORDER BY activity.xact_start
LIMIT 3
"""

log = structlog.get_logger()


def alembic_config(engine: Engine) -> Config:
    """Return Alembic's configuration for our migrations on this database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = engine
    return config


def migrate(engine: Engine, give_up_seconds: float = GIVE_UP_SECONDS) -> None:
    """Run the missing migrations. Several processes may call this at the same time.

    Raises ConfigurationError where a newer release has migrated the database, where a pooler is in the way,
    and where other sessions keep tables locked for `give_up_seconds`. The migrations before the one that
    waits have been applied then.
    """
    _refuse_pooler(engine)
    gives_up_at = time.monotonic() + give_up_seconds
    while True:
        try:
            _upgrade(engine)
            return
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
                raise
            holders = _lock_holders(engine)
            if time.monotonic() > gives_up_at:
                raise ConfigurationError(_locked_out(holders)) from error
            log.warning("migration_waits", held_by=holders)
        time.sleep(PAUSE_SECONDS)


@contextmanager
def outside_a_transaction() -> Iterator[None]:
    """Run statements of a migration that no transaction may hold, such as CREATE INDEX CONCURRENTLY.

    What the migration did before this block is committed. If the migration breaks off later, it begins again,
    so the statements in the block must be able to run twice. They may wait long for locks: nobody waits
    behind them.
    """
    with op.get_context().autocommit_block():
        op.execute(f"SET lock_timeout = {LOCK_TIMEOUT_CONCURRENTLY}")
        yield
        op.execute(f"SET lock_timeout = {LOCK_TIMEOUT}")


def set_role_defaults(connection: Connection) -> None:
    """Make our settings the defaults of our role in this database, for sessions that a pooler has opened.

    Only one process may do so at a time.
    """
    database = connection.dialect.identifier_preparer.quote_identifier(
        connection.scalar(text("SELECT current_database()"))
    )
    for name, value in SESSION_SETTINGS.items():
        connection.execute(text(f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET {name} = '{value}'"))


def is_current(engine: Engine) -> bool:
    """Return whether this code works on the database: it has all our migrations, and maybe newer ones."""
    applied = _applied(engine)
    return applied is not None and (applied == _script().get_current_head() or not _is_known(applied))


def _refuse_pooler(engine: Engine) -> None:
    """Raise ConfigurationError behind a pooler: the lock with which one process migrates needs a session."""
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        if driver is None or is_pooled(driver, connection.scalar(text("SELECT pg_backend_pid()"))):
            raise ConfigurationError(
                "A pooler is in the way, and migrations need a session of their own. Set "
                "TUNERY_DATABASE_DIRECT_URL to the address of Postgres itself"
            )


def _upgrade(engine: Engine) -> None:
    try:
        command.upgrade(alembic_config(engine), "head")
    except CommandError as error:
        applied = _applied(engine)
        if applied is None or _is_known(applied):
            raise
        raise ConfigurationError(
            f"A newer release of Tunery has migrated the database, to revision {applied}; migrate with that "
            "release or a later release"
        ) from error


def _lock_holders(engine: Engine) -> list[str]:
    """Return a description of each of the oldest sessions that hold locks on our tables."""
    with engine.connect() as connection:
        return [
            f"process {row.pid} (user {row.usename}, {row.application_name or 'no application name'}, "
            f"{row.state}, begun {row.age or 'an unknown time'} ago, in {row.tables})"
            for row in connection.execute(text(LOCK_HOLDERS))
        ]


def _locked_out(holders: list[str]) -> str:
    held_by = "; ".join(holders) or "sessions that have ended by now"
    return (
        "The migration could not lock a table that other sessions use, and has not changed it. The oldest "
        f"sessions that hold locks: {held_by}. Wait until they end, or end one with "
        "SELECT pg_terminate_backend(PROCESS), and run `tunery migrate` again"
    )


def _applied(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _is_known(revision: str) -> bool:
    return any(script.revision == revision for script in _script().walk_revisions())


def _script() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))
