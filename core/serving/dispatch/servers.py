"""Chooses a server for each request, by what the servers have loaded and by how much they have to do.

Requests of one model that begin alike go to one server if it has time, because it has their beginning in its
cache. This is rendezvous hashing: each server draws a number from the beginning and its own id, and the
highest number wins. So a server that comes or goes moves no beginning of the others.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime

from anyio import CapacityLimiter, to_thread
from sqlalchemy.orm import Session, sessionmaker

from core.serving.registry import live_servers
from core.serving.served_model import ServedModel
from core.tables import Server

# Seconds for which this process trusts a reading of the table
LISTED_SECONDS = 0.5

# Loading costs as much, and a cached beginning saves as much, as so many answers that a server has to write
CACHED_BEGINNING = 3
COLD_ADAPTER = 4
NO_BASE_LOADED = 16
OTHER_BASE_LOADED = 64


class Servers:
    """The servers that are running, and the answers that this process awaits from each of them."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        """`sessions` are for single reads."""
        self._sessions = sessions
        self._thread = CapacityLimiter(1)
        self._listed: dict[str, tuple[float, list[Server]]] = {}
        self._listing = asyncio.Lock()
        self._open: Counter[str] = Counter()
        self._lost: dict[str, datetime] = {}

    async def choose(
        self, model: ServedModel, beginning: str, without: Collection[str] = ()
    ) -> Server | None:
        """Return the best server for the model whose id is not in `without`, or None if there is none.

        `beginning` is the beginning of the request. A server that this process could not reach is left out
        until it has reported itself again.
        """
        found = [
            server
            for server in await self._live(model.base)
            if server.id not in without and self._lost.get(server.id) != server.seen_at
        ]
        if not found:
            return None
        text = f"{model.base}\n{model.adapter and model.adapter.sha256}\n{beginning}"
        usual = max(found, key=lambda server: hashlib.sha256(f"{server.id}\n{text}".encode()).digest())
        return min(found, key=lambda server: self._cost(server, model, is_usual=server is usual))

    @contextmanager
    def at_work(self, server: Server, answers: int) -> Iterator[None]:
        """Count the answers of a request at this server during the block."""
        self._open[server.id] += answers
        try:
            yield
        finally:
            self._open[server.id] -= answers
            if not self._open[server.id]:
                del self._open[server.id]

    def mark_lost(self, server: Server) -> None:
        """Remember that the server did not answer."""
        live = {each.id for _, servers in self._listed.values() for each in servers}
        self._lost = {each: seen_at for each, seen_at in self._lost.items() if each in live}
        self._lost[server.id] = server.seen_at

    def _cost(self, server: Server, model: ServedModel, *, is_usual: bool) -> tuple[float, str]:
        """Return what orders the servers: the work before this request, and what must be loaded for it.

        `is_usual` says whether requests with this beginning usually go to this server.
        """
        cost = max(server.running + server.waiting, self._open[server.id])
        if server.resident is None:
            cost += NO_BASE_LOADED
        elif server.resident != model.base:
            cost += OTHER_BASE_LOADED
        if model.adapter is not None and model.adapter.sha256 not in server.adapters:
            cost += COLD_ADAPTER
        if is_usual:
            cost -= CACHED_BEGINNING
        return cost / max(1, server.capacity), server.id

    async def _live(self, base: str) -> list[Server]:
        """Return the servers for this base model. All requests of a moment share one reading of the table."""
        async with self._listing:
            listed = self._listed.get(base)
            if listed is None or time.monotonic() - listed[0] > LISTED_SECONDS:
                servers = await to_thread.run_sync(self._read, base, limiter=self._thread)
                listed = self._listed[base] = time.monotonic(), servers
        return listed[1]

    def _read(self, base: str) -> list[Server]:
        with self._sessions() as session:
            return live_servers(session, base)
