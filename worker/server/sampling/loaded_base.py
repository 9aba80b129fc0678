"""A base model in memory, with everything that answers need of it."""

from collections.abc import Callable

from core.catalog import BaseModelEntry
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.sampler import Limits, Load, Sampler
from worker.server.reading import system_fingerprint
from worker.server.sampling.adapters import Adapters
from worker.server.sampling.bases import Bases
from worker.server.sampling.longest_token import Room, longest_token
from worker.server.sampling.prompting import Prompting
from worker.server.sampling.sampler_thread import SamplerThread
from worker.server.sampling.served_images import ServedImages


class LoadedBase:
    """One base model with its tokenizer, its sampler, its adapters, and what makes its prompts."""

    def __init__(
        self,
        base: ResidentBase,
        sampler: Sampler,
        adapters: Adapters,
        thread: SamplerThread,
        prompting: Prompting,
        room: Room,
        images: ServedImages | None,
    ) -> None:
        self.entry = base.entry
        self.vocabulary = int(base.model.config.get_text_config().vocab_size)  # type: ignore[union-attr,operator]
        self.max_length = sampler.max_length
        self.token_bytes = sampler.token_bytes
        self.end_tokens = sampler.end_tokens
        self._engine = sampler
        self.adapters = adapters
        self.sampler = thread
        self.prompting = prompting
        self.room = room
        self.images = images
        """What sees the images of chats; None if the base model reads none"""
        self.fingerprint = system_fingerprint(
            base.source_sha256, base.entry.quantization, base.dtype, base.device.type
        )
        self.device = base.device

    @property
    def id(self) -> str:
        return self.entry.id

    def load(self) -> Load:
        return self._engine.load

    async def release(self) -> None:
        """Free the memory. No request may use the model any more, and nobody may hold this object."""
        self.prompting.close()
        if self.images is not None:
            self.images.close()
        self.adapters.close()
        await self.sampler.stop()


def load_sampler(
    bases: Bases, entry: BaseModelEntry, cache_bytes: int, asked_back: Callable[[], object]
) -> tuple[ResidentBase, Sampler, Room]:
    """Get the base model, make its sampler, and find the room for a text.

    Raises JobError, OutsideFault and Unavailable.
    """
    base = bases.get(entry, asked_back)
    try:
        sampler = Sampler(base, Limits(cache_bytes=cache_bytes), bases.undisturbed)
        return base, sampler, Room(sampler.max_length, longest_token(base.tokenizer))
    except Exception:
        bases.give_back()
        raise
