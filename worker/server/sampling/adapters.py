"""Adapters from the object store, kept in memory while they are used and as long as they fit."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from core.serving.served_model import StoredAdapter
from core.storage.object_store import ObjectStore
from core.tracing import spans
from worker.engine.sampler.adapters.cache import AdapterCache
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.process.scratch import scratch_folder
from worker.server.sampling.adapter_memory import Room
from worker.server.sampling.fetching import errors_explained, fetch

Load = Callable[[Path, str], ServedAdapter]
"""Loads the adapter in a folder, named by its content hash. Raises AdapterRefused."""

FETCHES = 16  # adapters that are fetched at once: a store that hangs must not stop those after it too soon


class Adapters:
    """The adapters on one base model."""

    def __init__(self, store: ObjectStore, load: Load, byte_budget: int) -> None:
        self._store, self._load = store, load
        self._cache = AdapterCache(byte_budget, self._fetch)
        self._threads = ThreadPoolExecutor(FETCHES, thread_name_prefix="adapter")
        self._wanted = threading.local()  # the cache calls `_fetch` in the thread that asks
        self._room = Room(byte_budget)

    @property
    def warm(self) -> list[str]:
        return self._cache.warm

    @asynccontextmanager
    async def use(self, stored: StoredAdapter | None) -> AsyncIterator[ServedAdapter | None]:
        """Yield the adapter, fetched if it is not in memory, and keep it there during the block.

        It waits until there is room beside the adapters that are in use. Raises AdapterDamaged,
        ModelUnavailable if there can never be room, and Unavailable if the store does not answer.
        """
        if stored is None:
            yield None
            return
        async with self._room.taken(stored):
            adapter = await self._acquire(stored)
            try:
                yield adapter
            finally:
                self._cache.release(adapter)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _acquire(self, stored: StoredAdapter) -> ServedAdapter:
        # Without a thread, because all threads may wait for the store
        if (warm := self._cache.acquire_warm(stored.sha256)) is not None:
            return warm
        spans.current().event("adapter_is_loaded")
        pending = self._threads.submit(self._acquire_in_thread, stored)
        try:
            return await asyncio.wrap_future(pending)
        except asyncio.CancelledError:
            pending.add_done_callback(self._give_back)
            raise

    def _acquire_in_thread(self, stored: StoredAdapter) -> ServedAdapter:
        self._wanted.adapter = stored
        return self._cache.acquire(stored.sha256)

    def _give_back(self, ended: "Future[ServedAdapter]") -> None:
        """Release an adapter that came too late: the request for it has ended."""
        if not ended.cancelled() and ended.exception() is None:
            self._cache.release(ended.result())

    def _fetch(self, content_hash: str) -> ServedAdapter:
        stored: StoredAdapter = self._wanted.adapter
        with scratch_folder("adapter") as folder, errors_explained(stored):
            fetch(self._store, stored, folder)
            return self._load(folder, content_hash)
