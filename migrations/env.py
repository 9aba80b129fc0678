"""Alembic's entry: runs the migrations on the engine that `core.schema` hands over."""

from alembic import context
from sqlalchemy import text

from core.tables import Base

ADVISORY_LOCK = 0x74756E65  # one process migrates, the others wait


def run() -> None:
    """All in one transaction, with which the lock and the lifted time limit end."""
    engine = context.config.attributes["engine"]
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        context.run_migrations()


run()
