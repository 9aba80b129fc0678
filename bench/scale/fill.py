"""Fills all tables of an empty database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, text

from bench.scale import events, rows
from bench.scale.numbered import DAYS, Size, functions
from bench.scale.progress import say_step
from bench.scale.quick import quick_settings
from cli.embedded import EmbeddedServers
from core.database import create_database, session_factory
from core.schema import migrate
from core.tables import Job
from worker.supervisor.usage import count_usage


def prepare(servers: EmbeddedServers, size: Size) -> None:
    """Migrate and fill the database, unless it is full from before, and count the usage."""
    engine = create_database(servers.urls["database_url"])
    migrate(engine)
    with engine.connect() as connection:
        empty = connection.scalar(select(func.count()).select_from(select(Job.id).limit(1).subquery())) == 0
    if empty:
        fill(servers, size)
    say_step("usage")
    count_usage(session_factory(engine))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE runs, usage_days"))
    engine.dispose()


def fill(servers: EmbeddedServers, size: Size) -> None:
    """Fill the migrated, empty database of these servers. The events come first: they need most room."""
    with quick_settings(servers) as connection:
        began = datetime.now(UTC) - timedelta(days=DAYS)
        connection.execute(functions(size, began))
        say_step(f"{size.events:,} events")
        events.fill(connection, size)
        for name, statement in rows.statements(size).items():
            say_step(name)
            connection.execute(statement)
        say_step("vacuum")
        connection.execute("VACUUM (ANALYZE)")
        (size_on_disk,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
        say_step(f"filled: {size_on_disk / 1e9:.1f} GB")
