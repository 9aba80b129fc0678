"""Runs the service's functions as coroutines: each waits for the database without holding a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import greenlet_spawn

from core.database import SESSION_SETTINGS, session_factory

PREPARE_AFTER = 5  # psycopg's default: a statement is prepared when it is sent for the sixth time
GIVE_UP_SECONDS = 300.0

T = TypeVar("T")


class Coroutines:
    """A pool of connections that the coroutines share, as workers share those of a pooler.

    SQLAlchemy's asyncio runs synchronous code in a greenlet. Where the code waits for the database, the event
    loop goes on with other coroutines. So the code is that of the service, down to its sessions.
    """

    def __init__(self, url: str, connections: int, *, prepared: bool) -> None:
        """Behind a pooler, the service prepares no statements: then `prepared` is False."""
        options = " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items())
        self.connections = connections
        self._engine = create_async_engine(
            "postgresql+psycopg://",
            pool_size=connections,
            max_overflow=0,
            pool_timeout=GIVE_UP_SECONDS,
            pool_pre_ping=True,  # workers test each connection that they take from their pool
            connect_args={
                **conninfo_to_dict(url),
                "options": options,
                "prepare_threshold": PREPARE_AFTER if prepared else None,
            },
        )
        self.sessions = session_factory(self._engine.sync_engine)

    async def call(self, work: Callable[[], T]) -> T:
        """Run synchronous code that uses `sessions`, and return its result."""
        return await greenlet_spawn(work)

    async def close(self) -> None:
        await self._engine.dispose()
