"""The script that Alembic runs: applies the migrations on the engine that `core.schema` passes."""

import time
from typing import Any

from alembic import context
from sqlalchemy import Connection, text

from core.schema import LOCK_TIMEOUT, mark_contract, set_role_defaults
from core.tables import Base

ADVISORY_LOCK = 0x74756E65  # the process with this lock migrates, and the others wait
POLL_SECONDS = 0.2


def run() -> None:
    """Apply each migration in a transaction of its own."""
    with context.config.attributes["engine"].connect() as connection:
        try:
            _wait_for_other_processes(connection)
            _migrate(connection)
            connection.execute(text(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})"))
            connection.commit()
        finally:
            connection.invalidate()  # neither the lock nor the settings may reach other users of the pool


def _wait_for_other_processes(connection: Connection) -> None:
    """Take the lock, which lasts until it is given back or the connection ends.

    Each try is a short transaction. CREATE INDEX CONCURRENTLY waits for all transactions that have a
    snapshot, and a statement that waits for this lock would have one.
    """
    while not connection.scalar(text(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})")):
        connection.commit()
        time.sleep(POLL_SECONDS)
    connection.commit()


def _migrate(connection: Connection) -> None:
    for setting in ("statement_timeout = 0", f"lock_timeout = {LOCK_TIMEOUT}"):
        connection.execute(text(f"SET {setting}"))
    if check := context.config.attributes.get("check"):
        check(connection)  # under the lock, so that nobody else migrates between the check and the migration
    set_role_defaults(connection)
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        transaction_per_migration=True,
        on_version_apply=_applied,
    )
    with context.begin_transaction():
        context.run_migrations()


def _applied(*, ctx: Any, step: Any, **_others: object) -> None:
    """Note a contract migration, in its own transaction."""
    mark_contract(ctx.connection, step.up_revision)


run()
