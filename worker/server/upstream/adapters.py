"""The adapters that the upstream has loaded, each under the hash of its content."""

import asyncio
import fcntl
import os
import re
import shutil
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from core.serving.errors import UnsuitedServer
from core.serving.served_model import StoredAdapter
from core.storage.object_store import ObjectStore
from worker.server.errors import ModelUnavailable
from worker.server.sampling.adapter_memory import Room
from worker.server.sampling.fetching import errors_explained, fetch
from worker.server.threads import in_daemon_thread
from worker.server.upstream.connection import Upstream
from worker.server.upstream.errors import AdapterForgotten, LoadingRefused
from worker.server.upstream.suitability import check_adapter, unsuited

CONTENT_HASH = re.compile(r"[0-9a-f]{64}")
REFUSED_SECONDS = 60.0  # for which an adapter that the upstream does not take is not fetched again

log = structlog.get_logger()


@dataclass
class _Held:
    bytes: int
    loading: "asyncio.Task[None]"
    users: int = 0


class UpstreamAdapters:
    """Loads adapters when they are asked for, and unloads those that were used least recently.

    Only the event loop may call.

    An adapter's folder stays as long as the upstream has the adapter: vLLM drops it from its memory when it
    likes, and reads the folder again.
    """

    def __init__(
        self, store: ObjectStore, upstream: Upstream, repository: str, folder: Path, byte_budget: int
    ) -> None:
        """`repository` is the public name of the base model, which its adapters record."""
        self._store, self._upstream, self._repository, self._folder = store, upstream, repository, folder
        self._budget, self._room = byte_budget, Room(byte_budget)
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._refused: dict[str, tuple[float, UnsuitedServer]] = {}
        self._one_change = asyncio.Lock()
        self._cleared = False
        self._lock: int | None = None

    @property
    def warm(self) -> list[str]:
        """The content hashes of the adapters that are loaded. May be read from any thread."""
        return [name for name, held in list(self._held.items()) if held.loading.done()]

    @asynccontextmanager
    async def use(self, stored: StoredAdapter) -> AsyncIterator[str]:
        """Yield the adapter's name in the upstream, and keep it loaded during the block.

        It waits until there is room beside the adapters that are in use. If the block raises
        AdapterForgotten, the next request has the adapter loaded anew. Raises AdapterDamaged, UnsuitedServer,
        ModelUnavailable, Unavailable and UpstreamLost.
        """
        async with self._room.taken(stored):
            held = self._held.get(stored.sha256) or self._begin(stored)
            self._held.move_to_end(stored.sha256)
            held.users += 1
            try:
                await asyncio.shield(held.loading)
                yield stored.sha256
            except AdapterForgotten:
                if self._held.get(stored.sha256) is held:  # no other request has had it loaded anew
                    del self._held[stored.sha256]
                raise
            finally:
                held.users -= 1

    def _begin(self, stored: StoredAdapter) -> _Held:
        self._raise_remembered(stored)
        loading = asyncio.create_task(self._load(stored))
        held = self._held[stored.sha256] = _Held(sum(file.bytes for file in stored.files), loading)
        loading.add_done_callback(lambda ended: self._forget_failed(stored, held, ended))
        return held

    def _forget_failed(self, stored: StoredAdapter, held: _Held, ended: "asyncio.Task[None]") -> None:
        error = None if ended.cancelled() else ended.exception()
        if isinstance(error, UnsuitedServer):
            self._refused[stored.sha256] = time.monotonic(), error
        if (ended.cancelled() or error is not None) and self._held.get(stored.sha256) is held:
            del self._held[stored.sha256]

    def _raise_remembered(self, stored: StoredAdapter) -> None:
        began = time.monotonic() - REFUSED_SECONDS
        self._refused = {name: found for name, found in self._refused.items() if found[0] > began}
        if stored.sha256 in self._refused:
            raise self._refused[stored.sha256][1]

    async def _load(self, stored: StoredAdapter) -> None:
        draft, folder = self._folder / f"{stored.sha256}.part", self._folder / stored.sha256
        async with self._one_change:
            await self._clear()
        await in_daemon_thread(lambda: self._fetch(stored, draft), "adapter")
        try:
            async with self._one_change:
                await self._evict()
                shutil.rmtree(folder, ignore_errors=True)
                draft.rename(folder)
                await self._upstream.load(stored.sha256, str(folder))
        except BaseException as error:
            for left in (draft, folder):
                shutil.rmtree(left, ignore_errors=True)
            if not isinstance(error, LoadingRefused):
                raise
            log.warning("upstream_refused_adapter", prefix=stored.prefix, error=str(error))
            above = "its rank is above vLLM's max_lora_rank" if "max_lora_rank" in str(error) else None
            raise unsuited(above or "vLLM refuses it, and the server's log says why") from error

    def _fetch(self, stored: StoredAdapter, draft: Path) -> None:
        shutil.rmtree(draft, ignore_errors=True)
        try:
            with errors_explained(stored):
                fetch(self._store, stored, draft)
                check_adapter(draft, self._repository)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    async def _evict(self) -> None:
        """Unload the least recently used adapters that nobody uses, until the budget holds."""
        excess = sum(held.bytes for held in self._held.values()) - self._budget
        for name, held in list(self._held.items()):
            if excess <= 0:
                return
            if not held.users and held.loading.done():
                del self._held[name]
                excess -= held.bytes
                await self._unload(name)

    async def _clear(self) -> None:
        """Once, remove what an earlier process has left in the upstream and in the folder."""
        if self._cleared:
            return
        self._lock_folder()
        for name in await self._upstream.adapters():
            if CONTENT_HASH.fullmatch(name):
                await self._unload(name)
        for left in self._folder.iterdir():
            if CONTENT_HASH.match(left.name):
                shutil.rmtree(left, ignore_errors=True)
        self._cleared = True

    def _lock_folder(self) -> None:
        """Keep other servers out of the folder as long as this process lives. Raises ModelUnavailable."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._lock is not None:
            return
        lock = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise ModelUnavailable(
                "Another server uses the folder for this upstream's adapters. Ask the operator to give each "
                "server a TUNERY_SERVE_UPSTREAM_FOLDER of its own."
            ) from error
        self._lock = lock

    async def _unload(self, name: str) -> None:
        await self._upstream.unload(name)
        shutil.rmtree(self._folder / name, ignore_errors=True)
