"""The script that Alembic runs: applies the migrations on the engine that `core.schema` passes."""

from alembic import context
from sqlalchemy import text

from core.tables import Base

ADVISORY_LOCK = 0x74756E65  # the process with this lock migrates, and the others wait


def run() -> None:
    """Apply the migrations in one transaction.

    The lock and the lifted statement timeout last until the transaction ends.
    """
    engine = context.config.attributes["engine"]
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        context.run_migrations()


run()
