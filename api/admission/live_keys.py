"""Notices that a key was revoked or has expired while its caller still gets an answer: a stream or a chat."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.access import keys
from core.access.audit import Actor

LOOK_SECONDS = 5.0  # between two looks at the keys of all open answers

log = structlog.get_logger()


class LiveKeys:
    """Watches the keys of open answers by one query for all of them. Only the event loop may call."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        """`sessions` are for single reads."""
        self._sessions = sessions
        self._thread = CapacityLimiter(1)
        self._open: dict[str, set[asyncio.Event]] = {}
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def watched(self, caller: Actor) -> Iterator[asyncio.Event]:
        """Yield an event that is set within seconds after the end of the caller's key."""
        assert caller.key_id is not None, "a caller has a key"
        ended = asyncio.Event()
        self._open.setdefault(caller.key_id, set()).add(ended)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield ended
        finally:
            self._open[caller.key_id].discard(ended)
            if not self._open[caller.key_id]:
                del self._open[caller.key_id]

    async def _look(self) -> None:
        """Look again and again, until no answer is open. A key counts as live while the database is away."""
        while self._open:
            await asyncio.sleep(LOOK_SECONDS)
            asked = list(self._open)
            try:
                live = await to_thread.run_sync(self._read, asked, limiter=self._thread)
            except SQLAlchemyError as error:
                log.warning("keys_not_read", error=str(error))
                continue
            for key_id in set(asked) - live:
                for ended in self._open.get(key_id, ()):
                    ended.set()

    def _read(self, key_ids: list[str]) -> set[str]:
        with self._sessions() as session:
            return keys.live_ids(session, key_ids)
