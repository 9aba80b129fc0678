"""Alembic's entry: runs the migrations on the engine that `core.schema` hands over."""

from alembic import context
from sqlalchemy import text

from core.models import Base

ADVISORY_LOCK = 0x74756E65  # one process migrates, the others wait


def run() -> None:
    engine = context.config.attributes["engine"]
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


run()
