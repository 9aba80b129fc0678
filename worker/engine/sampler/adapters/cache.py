"""The adapters in memory: the least recently used ones leave when a budget of bytes is used up."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from worker.engine.sampler.adapters.served import ServedAdapter

Loader = Callable[[str], ServedAdapter]
"""Fetches and loads the adapter with this content hash; may take long, and may raise."""


@dataclass
class _Held:
    adapter: ServedAdapter
    users: int = 0


class AdapterCache:
    """Adapters by content hash. An adapter that is in use stays; its users give it back with `release`.

    Any thread may call. Loading runs in the caller's thread, while others go on; two callers that ask for
    the same adapter load it once. If all adapters are in use, the budget is exceeded until one is given back.
    """

    def __init__(self, byte_budget: int, load: Loader) -> None:
        self._budget, self._load = byte_budget, load
        self._held: OrderedDict[str, _Held] = OrderedDict()
        # A lock stays as long as one caller has it, so that all callers of an adapter share one
        self._loading: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """The memory that the adapters take."""
        with self._lock:
            return self._total()

    @property
    def warm(self) -> list[str]:
        """The content hashes of the adapters in memory, the most recently used last."""
        with self._lock:
            return list(self._held)

    def acquire(self, content_hash: str) -> ServedAdapter:
        """Return the adapter, loaded if it was not, and keep it until `release`.

        Raises what the loader raises.
        """
        if (found := self.acquire_warm(content_hash)) is not None:
            return found
        with self._lock:
            loading = self._loading.setdefault(content_hash, threading.Lock())
        with loading:
            if (found := self.acquire_warm(content_hash)) is not None:
                return found
            loaded = self._load(content_hash)
            with self._lock:
                self._held[content_hash] = _Held(loaded, users=1)
                self._evict()
            return loaded

    def acquire_warm(self, content_hash: str) -> ServedAdapter | None:
        """Return the adapter and keep it until `release`, or return None if it is not in memory."""
        with self._lock:
            if (held := self._held.get(content_hash)) is None:
                return None
            held.users += 1
            self._held.move_to_end(content_hash)
            return held.adapter

    def release(self, adapter: ServedAdapter) -> None:
        """Give back what `acquire` has returned."""
        with self._lock:
            held = self._held[adapter.content_hash]
            assert held.users > 0, "only what was acquired is given back"
            held.users -= 1
            self._evict()

    def _total(self) -> int:
        return sum(held.adapter.nbytes for held in self._held.values())

    def _evict(self) -> None:
        """Drop the least recently used adapters that nobody uses, until the budget holds."""
        excess = self._total() - self._budget
        for content_hash, held in list(self._held.items()):
            if excess <= 0:
                return
            if not held.users:
                del self._held[content_hash]
                excess -= held.adapter.nbytes
