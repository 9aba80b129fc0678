"""A base model in memory, with everything that answers need of it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from core.catalog import BaseModelEntry
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.sampler import Limits, Load, Sampler
from worker.server.reading import system_fingerprint
from worker.server.sampling.adapters import Adapters
from worker.server.sampling.bases import Bases
from worker.server.sampling.sampler_thread import SamplerThread

Result = TypeVar("Result")


class LoadedBase:
    """One base model with its tokenizer, its sampler and its adapters."""

    def __init__(
        self, base: ResidentBase, sampler: Sampler, adapters: Adapters, thread: SamplerThread
    ) -> None:
        self.entry = base.entry
        self.tokenizer = base.tokenizer
        self.vocabulary = int(base.model.config.get_text_config().vocab_size)  # type: ignore[union-attr,operator]
        self.max_length = sampler.max_length
        self.token_bytes = sampler.token_bytes
        self.end_tokens = sampler.end_tokens
        self._engine = sampler
        self.adapters = adapters
        self.sampler = thread
        self.fingerprint = system_fingerprint(
            base.source_sha256, base.entry.quantization, base.dtype, base.device.type
        )
        self.device = base.device
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="renderer")

    @property
    def id(self) -> str:
        return self.entry.id

    async def render(self, work: Callable[[], Result]) -> Result:
        """Do work with the tokenizer in the one thread that may use it: a long text takes a while."""
        return await asyncio.get_running_loop().run_in_executor(self._renderer, work)

    def load(self) -> Load:
        return self._engine.load

    async def release(self) -> None:
        """Free the memory. No request may use the model any more, and nobody may hold this object."""
        self._renderer.shutdown(wait=False, cancel_futures=True)
        self.adapters.close()
        await self.sampler.stop()


def load_sampler(
    bases: Bases, entry: BaseModelEntry, cache_bytes: int, asked_back: Callable[[], object]
) -> tuple[ResidentBase, Sampler]:
    """Get the base model, and make its sampler. Raises JobError, OutsideFault and Unavailable."""
    base = bases.get(entry, asked_back)
    try:
        return base, Sampler(base, Limits(cache_bytes=cache_bytes), bases.undisturbed)
    except Exception:
        bases.give_back()
        raise
