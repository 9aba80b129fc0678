"""Asks all servers at the same time whether they answer, and waits for a few seconds at most."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy import Engine, text

from api.system.schemas import Readiness
from core.jobs.dispatch import HintSender
from core.storage.object_store import ObjectStore

DEADLINE_SECONDS = 5.0
SHARED_SECONDS = 1.0

log = structlog.get_logger()


class SharedReadiness:
    """Looks at the servers once for all requests that come meanwhile, or within a second after.

    Anybody may ask, without a key, and a look takes threads and connections. A request that waits for a look
    takes none.
    """

    def __init__(self, look: Callable[[], Readiness]) -> None:
        self._look = look
        self._looking: asyncio.Task[Readiness] | None = None
        self._stale_at = 0.0
        self._thread = CapacityLimiter(1)

    async def now(self) -> Readiness:
        """Return the state of the parts, at most `SHARED_SECONDS` old."""
        if self._looking is None or (self._looking.done() and time.monotonic() > self._stale_at):
            self._looking = asyncio.create_task(self._looked())
        return await asyncio.shield(self._looking)

    async def _looked(self) -> Readiness:
        try:
            return await to_thread.run_sync(self._look, limiter=self._thread)
        finally:
            self._stale_at = time.monotonic() + SHARED_SECONDS


class ServerChecks:
    """Asks each server, in threads of its own: one for each server, also if a server hangs."""

    def __init__(self, engine: Engine, hint_sender: HintSender, store: ObjectStore) -> None:
        self._checks: dict[str, Callable[[], str]] = {
            "database": lambda: _answers(engine),
            "migrations": lambda: _migrated(engine),
            "broker": lambda: _passes(hint_sender.check),
            "storage": lambda: _passes(store.check),
        }
        self._threads = ThreadPoolExecutor(len(self._checks), thread_name_prefix="readiness")
        self._running: dict[str, Future[str]] = {}

    def look(self) -> Readiness:
        """Return what the servers answer. A server that still owes an answer is not asked again.

        Anybody may read the words, so they name no host and no user. The log has the whole error.
        """
        for name, check in self._checks.items():
            if name not in self._running or self._running[name].done():
                self._running[name] = self._threads.submit(_guarded, name, check)
        wait(self._running.values(), DEADLINE_SECONDS)
        found = {
            name: check.result() if check.done() else f"no answer within {DEADLINE_SECONDS:g} s"
            for name, check in self._running.items()
        }
        ready = all(word == "ok" for word in found.values())
        return Readiness(status="ready" if ready else "not ready", **found)


def _guarded(name: str, check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception as error:
        log.warning("not_ready", part=name, error=str(error))
        return f"cannot be reached ({type(error).__name__})"


def _answers(engine: Engine) -> str:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return "ok"


def _migrated(engine: Engine) -> str:
    # Importing Alembic takes 0.17 s, which the start of the API need not wait for
    from core.schema import what_is_wrong

    return what_is_wrong(engine) or "ok"


def _passes(check: Callable[[], None]) -> str:
    check()
    return "ok"
