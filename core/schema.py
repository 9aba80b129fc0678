"""The schema of the database: functions that update it and check whether it is current."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import takewhile
from pathlib import Path

import structlog
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from core.database import SESSION_SETTINGS, is_pooled
from core.errors import ConfigurationError
from core.releases import MIGRATIONS, older_processes

# The phases of migrations. An expand migration leaves all that the release before reads and writes. A
# contract migration takes something away: it waits until no process of an older release may run.
EXPAND, CONTRACT = "expand", "contract"
BEHIND = "not up to date; run `tunery migrate`"
TOO_NEW = "without what this release uses, since a newer release has taken it away; start that release"

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


@dataclass(frozen=True)
class HeldBack:
    """Contract migrations that were not applied, and the processes for whose sake."""

    revisions: list[str]
    processes: list[str]

    @property
    def advice(self) -> str:
        """Sentences that say who holds them back, and what to do."""
        return (
            f"Processes of older releases may run: {'; '.join(self.processes)}. Stop them, and run `tunery "
            "migrate` again. If none of them is of an older release, run "
            f"`tunery migrate --contract-up-to {self.revisions[-1]}`"
        )


class OlderProcesses(Exception):
    """Processes of an older release may run. `processes` describes them."""

    def __init__(self, processes: list[str]) -> None:
        super().__init__("; ".join(processes))
        self.processes = processes


def migrate(
    engine: Engine, give_up_seconds: float = GIVE_UP_SECONDS, *, contract_up_to: str = ""
) -> HeldBack | None:
    """Run the missing migrations. Several processes may call this at the same time.

    Contract migrations up to the revision `contract_up_to` are applied in any case. Later ones are applied
    unless a process of an older release may run. A new database gets all. Return what was held back.

    Raises ConfigurationError where a newer release has migrated the database, where a pooler is in the way,
    where there is no migration `contract_up_to`, where an expand migration needs one that is held back, and
    where other sessions keep tables locked for `give_up_seconds`. The migrations before the one that waits
    have been applied then.
    """
    if contract_up_to and not _is_known(contract_up_to):
        raise ConfigurationError(
            f"This release has no migration {contract_up_to!r}. `tunery migrate` names those that wait"
        )
    _refuse_pooler(engine)
    gives_up_at = time.monotonic() + give_up_seconds
    while True:
        try:
            return _upgrade(engine, contract_up_to)
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


def what_is_wrong(engine: Engine) -> str | None:
    """Return why this code does not work on the tables, or None if it does.

    It works if only contract migrations are missing. It also works on the tables of a newer release, unless a
    contract migration that it does not know has been applied.
    """
    applied = _applied(engine)
    if applied is not None and not _is_known(applied):
        contract = _last_contract(engine)
        return None if contract is None or _is_known(contract) else TOO_NEW
    missing = _missing(applied)
    return BEHIND if any(_expands(script) for script in missing) else None


def mark_contract(connection: Connection, script: Script) -> None:
    """Note in the database that this migration has taken something away, so that older code sees it."""
    if script.module.phase == CONTRACT:
        connection.execute(text(f"COMMENT ON TABLE alembic_version IS '{script.revision}'"))


def _refuse_pooler(engine: Engine) -> None:
    """Raise ConfigurationError behind a pooler: the lock with which one process migrates needs a session."""
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        if driver is None or is_pooled(driver, connection.scalar(text("SELECT pg_backend_pid()"))):
            raise ConfigurationError(
                "A pooler is in the way, and migrations need a session of their own. Set "
                "TUNERY_DATABASE_DIRECT_URL to the address of Postgres itself"
            )


def _upgrade(engine: Engine, contract_up_to: str) -> HeldBack | None:
    applied = _applied(engine)
    if applied is not None and not _is_known(applied):
        raise ConfigurationError(
            f"A newer release of Tunery has migrated the database, to revision {applied}; migrate with that "
            "release or a later release"
        )
    missing = _missing(applied)
    harmless = missing if applied is None else [*takewhile(_expands, missing)]
    target = harmless[-1].revision if harmless else applied
    assert target is not None  # a new database gets at least the first migration
    command.upgrade(alembic_config(engine), target)  # also if none is missing: it sets the role's defaults
    for count, script in enumerate(missing[len(harmless) :], len(harmless)):
        config = alembic_config(engine)
        if not _expands(script) and script.revision > contract_up_to:
            config.attributes["check"] = partial(_refuse_older_processes, script.revision)
        try:
            command.upgrade(config, script.revision)
        except OlderProcesses as error:
            return _hold_back(missing[count:], error.processes)
    return None


def _refuse_older_processes(revision: str, connection: Connection) -> None:
    """Raise OlderProcesses if a process may run that does not know the migration."""
    if processes := older_processes(connection, revision):
        raise OlderProcesses(processes)


def _hold_back(scripts: list[Script], processes: list[str]) -> HeldBack:
    held = HeldBack([script.revision for script in scripts], processes)
    if any(_expands(script) for script in scripts):
        first = HeldBack(held.revisions[:1], processes)
        raise ConfigurationError(
            f"Migration {held.revisions[0]} takes away what older releases use, and later ones need it. "
            f"{first.advice}"
        )
    return held


def _expands(script: Script) -> bool:
    return bool(script.module.phase == EXPAND)


def _missing(applied: str | None) -> list[Script]:
    """Return our migrations after `applied`, oldest first."""
    script = _script()
    return [*script.iterate_revisions("head", applied or "base")][::-1]


def _last_contract(engine: Engine) -> str | None:
    """Return the newest contract migration that was applied, if there is one."""
    with engine.connect() as connection:
        return connection.scalar(text("SELECT obj_description(CAST('alembic_version' AS regclass))"))


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
    return _read_once(MIGRATIONS)


@cache
def _read_once(folder: Path) -> ScriptDirectory:
    """Return the migrations as they are when this process first asks: its code is of the same release."""
    return ScriptDirectory(str(folder))
