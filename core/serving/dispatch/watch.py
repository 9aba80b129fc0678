"""Notices servers that have fallen silent while their connections stay open: frozen or hanging ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.serving.registry import reporting_servers
from core.tables import Server

# Seconds
LOOK = 1.0  # between two looks at the table
PROBE = 3.0  # in which a server that does not report itself must answer

log = structlog.get_logger()


class Watch:
    """Ends what waits for a silent server. Only the event loop may call.

    A server is silent if it neither reports itself nor answers a request for its state. So a database that is
    away ends nothing, and neither does a server that drains: it has left the table, but it answers.
    """

    def __init__(self, sessions: sessionmaker[Session], http: httpx.AsyncClient) -> None:
        """`sessions` are for single reads."""
        self._sessions, self._http = sessions, http
        self._thread = CapacityLimiter(1)
        self._servers: dict[str, Server] = {}
        self._waits: dict[str, set[asyncio.Timeout]] = {}
        self._looking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def over(self, server: Server) -> AsyncIterator[None]:
        """Raise httpx.ReadTimeout in the block if the server falls silent meanwhile."""
        wait = asyncio.timeout(None)
        try:
            async with wait:
                self._begin(server, wait)
                try:
                    yield
                finally:
                    self._end(server, wait)
        except TimeoutError as error:
            if not wait.expired():
                raise
            raise httpx.ReadTimeout("the server neither reports itself nor answers") from error

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    def _begin(self, server: Server, wait: asyncio.Timeout) -> None:
        self._servers[server.id] = server
        self._waits.setdefault(server.id, set()).add(wait)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    def _end(self, server: Server, wait: asyncio.Timeout) -> None:
        waits = self._waits.get(server.id, set())
        waits.discard(wait)
        if not waits:
            self._waits.pop(server.id, None)
            self._servers.pop(server.id, None)

    async def _look(self) -> None:
        """Look again and again, until nobody waits."""
        while self._waits:
            await asyncio.sleep(LOOK)
            unheard = await self._unheard()
            answers = await asyncio.gather(*map(self._answers, unheard))
            for server, alive in zip(unheard, answers, strict=True):
                if not alive:
                    self._give_up(server)

    async def _unheard(self) -> list[Server]:
        """Return the servers that do not report themselves; all of them if the database is away."""
        try:
            reporting = await to_thread.run_sync(self._read, limiter=self._thread)
        except SQLAlchemyError:
            reporting = set()
        return [server for server in self._servers.values() if server.id not in reporting]

    def _read(self) -> set[str]:
        with self._sessions() as session:
            return reporting_servers(session)

    async def _answers(self, server: Server) -> bool:
        try:
            await self._http.get(f"{server.address}/readyz", timeout=PROBE)
        except httpx.HTTPError:
            return False
        return True

    def _give_up(self, server: Server) -> None:
        log.warning("server_silent", server=server.id, address=server.address)
        now = asyncio.get_running_loop().time()
        for wait in self._waits.pop(server.id, set()):
            wait.reschedule(now)
