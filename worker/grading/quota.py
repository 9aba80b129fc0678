"""What a project's quotas of chats leave to its eval runs and graders: permits, and tokens per minute.

They take what chats do not need. They ask only while half of the project's permits and half of the tokens
of this minute are left, and while no chat waits.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from anyio import to_thread
from sqlalchemy.orm import Session, sessionmaker

from core.access.quotas import Quotas
from core.access.rates import Counters, TokenRates
from core.errors import RateLimited
from core.serving.permits import ChatPermits
from core.serving.shared_permits import SharedPermits
from core.settings import Settings
from core.tables import Project

LOOK_SECONDS = 2.0  # after which a request that waits looks at the quotas again, since they may have changed


class ChatQuota:
    """The permits and tokens of one project, as its run may take them. Only the event loop may call."""

    def __init__(
        self, settings: Settings, sessions: sessionmaker[Session], project_id: str, at_once: int
    ) -> None:
        """At most `at_once` requests wait for a permit."""
        self._settings, self._sessions, self._project_id = settings, sessions, project_id
        counters = Counters(settings.server("broker_url"))
        self._rates = TokenRates(counters)
        self._permits = ChatPermits(SharedPermits(counters), at_once, LOOK_SECONDS)
        self._known, self._known_at = Quotas(), -LOOK_SECONDS
        self._at_work = 0
        self._refused_since: float | None = None

    @property
    def waits_for_seconds(self) -> float:
        """How long all of the run's requests have waited for room. 0 if one of them is at work."""
        if self._at_work or self._refused_since is None:
            return 0.0
        return time.monotonic() - self._refused_since

    @asynccontextmanager
    async def room(self) -> AsyncIterator[float]:
        """Wait until there is room for a request, and hold its permit in the block.

        Yields the seconds for which it has waited.
        """
        async with AsyncExitStack() as held:
            began = time.monotonic()
            while not await self._takes_room(held):
                self._refused_since = self._refused_since or time.monotonic()
            self._refused_since = None
            self._at_work += 1
            try:
                yield time.monotonic() - began
            finally:
                self._at_work -= 1

    async def count(self, usage: Mapping[str, Any]) -> None:
        """Count the tokens of an answer, whose `usage` has OpenAI's form."""
        most = (await self._quotas()).tokens_per_minute
        tokens = usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0)
        if most is not None and tokens:
            await to_thread.run_sync(self._rates.add, self._project_id, most, tokens)

    def close(self) -> None:
        """Let the broker hear of the permits that were given back."""
        self._permits.close()

    async def _takes_room(self, held: AsyncExitStack) -> bool:
        """Take a permit, which `held` gives back. Return False if there was no room for LOOK_SECONDS."""
        quotas = await self._quotas()
        chats, tokens = quotas.concurrent_chats or 1, quotas.tokens_per_minute
        if tokens is not None:
            try:
                await to_thread.run_sync(self._rates.check, self._project_id, tokens, tokens // 2)
            except RateLimited:
                await asyncio.sleep(LOOK_SECONDS)
                return False
        permit = self._permits.permit(self._project_id, max(1, chats // 2), yields=True)
        try:
            await held.enter_async_context(permit)
        except RateLimited:
            return False
        return True

    async def _quotas(self) -> Quotas:
        if time.monotonic() - self._known_at >= LOOK_SECONDS:
            self._known = await to_thread.run_sync(self._read)
            self._known_at = time.monotonic()
        return self._known

    def _read(self) -> Quotas:
        with self._sessions() as session:
            return Quotas.of(session.get_one(Project, self._project_id), self._settings)
