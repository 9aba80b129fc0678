"""A base model in memory, with everything that answers need of it."""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TypeVar

import torch

from core.catalog import BaseModelEntry
from core.settings import Settings
from worker.base_models.model_store import ensure_model, load_errors_explained
from worker.engine.base.base_model import ResidentBase
from worker.engine.device.health import check_device
from worker.engine.generate.sampler import Limits, Load, Sampler
from worker.serve.sampling.adapters import Adapters
from worker.serve.sampling.sampler_thread import SamplerThread

Result = TypeVar("Result")


class LoadedBase:
    """One base model with its tokenizer, its sampler and its adapters."""

    def __init__(
        self, base: ResidentBase, sampler: Sampler, adapters: Adapters, thread: SamplerThread
    ) -> None:
        self.id = base.entry.id
        self.tokenizer = base.tokenizer
        self.vocabulary = int(base.model.config.get_text_config().vocab_size)  # type: ignore[union-attr,operator]
        self.max_length = sampler.max_length
        self.token_bytes = sampler.token_bytes
        self.end_tokens = sampler.end_tokens
        self._engine = sampler
        self.adapters = adapters
        self.sampler = thread
        self.fingerprint = fingerprint(base)
        self.device = base.device
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="renderer")

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
    settings: Settings, entry: BaseModelEntry, device: torch.device
) -> tuple[ResidentBase, Sampler]:
    """Load the base model, fetched if it is not on the disk. Raises JobError and OutsideFault."""
    check_device(device)
    folder, sha256 = ensure_model(entry, settings.models_folder)
    with load_errors_explained(entry):
        base = ResidentBase(entry, folder, sha256, device)
    return base, Sampler(base, Limits(cache_bytes=settings.serve_cache_bytes))


def fingerprint(base: ResidentBase) -> str:
    """Return OpenAI's `system_fingerprint`. It changes with what may change answers to one request."""
    facts = (base.source_sha256, base.entry.quantization, base.dtype, base.device.type, version("tunery"))
    return f"fp_{hashlib.sha256(repr(facts).encode()).hexdigest()[:10]}"
