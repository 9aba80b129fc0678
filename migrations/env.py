"""The script that Alembic runs: applies the migrations on the engine that `core.schema` passes."""

import time

from alembic import context
from sqlalchemy import Connection, text

from core.tables import Base

ADVISORY_LOCK = 0x74756E65  # the process with this lock migrates, and the others wait
POLL_SECONDS = 0.1


def run() -> None:
    """Apply the migrations, each in a transaction of its own.

    The connection does not go back to the pool, so that its lock and its settings end with it.
    """
    engine = context.config.attributes["engine"]
    with engine.connect() as connection:
        try:
            _wait_for_other_processes(connection)
            connection.execute(text("SET statement_timeout = 0"))
            connection.commit()
            _migrate(connection)
        finally:
            connection.invalidate()


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _wait_for_other_processes(connection: Connection) -> None:
    """Take the lock of the process that migrates.

    No transaction stays open meanwhile: an index that is built concurrently waits for every transaction, and
    would wait for this one.
    """
    while not connection.scalar(text(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})")):
        connection.rollback()
        time.sleep(POLL_SECONDS)


run()
