"""The memory for adapters that are in use. The cache can evict the others, but not these."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.serving.served_model import StoredAdapter
from worker.server.errors import ModelUnavailable


class Room:
    """Counts the bytes of the adapters in use, each once, by the sizes of their files."""

    def __init__(self, byte_budget: int) -> None:
        self._left = byte_budget
        self._budget = byte_budget
        self._users: Counter[str] = Counter()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def taken(self, adapter: StoredAdapter) -> AsyncIterator[None]:
        """Hold room for the adapter during the block, as soon as there is some. Raises ModelUnavailable."""
        size = sum(file.bytes for file in adapter.files)
        if size > self._budget:
            raise ModelUnavailable(
                f"The model's own weights have {size} bytes, and this server keeps {self._budget}: its "
                "operator must raise TUNERY_SERVE_ADAPTER_BYTES."
            )
        while not self._users[adapter.sha256] and size > self._left:
            self._freed.clear()
            await self._freed.wait()
        if not self._users[adapter.sha256]:
            self._left -= size
        self._users[adapter.sha256] += 1
        try:
            yield
        finally:
            self._users[adapter.sha256] -= 1
            if not self._users[adapter.sha256]:
                del self._users[adapter.sha256]
                self._left += size
                self._freed.set()
