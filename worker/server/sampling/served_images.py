"""The images of prompts for one base model. Each is read and seen once, as long as its vectors have room."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import NamedTuple

from core.errors import InvalidRequest
from core.images.parts import UnusableImage, encoded_image
from core.serving.errors import SamplingFailed
from core.serving.schemas.coherence import unusable_image
from core.serving.schemas.messages import ImageUrl
from worker.engine.base.tower import Tower
from worker.engine.device.health import is_out_of_memory
from worker.images.inputs import Detail, ImageInputs
from worker.images.reader import ImageReader
from worker.rendering.images import ConversationImages, SeenImage
from worker.rows.image_store import ImageStore
from worker.server.sampling.sampler_thread import AGAIN, SamplerBroken, SamplerThread
from worker.server.threads import in_daemon_thread, to_its_end
from worker.server.turns import Turns

MOST_BYTES = 1024**3  # of vectors on the disk


class PromptImages(NamedTuple):
    """The images of one prompt: what they are in its text, and the vectors of its tokens."""

    of_prompt: ConversationImages
    store: ImageStore


class _Encoded(NamedTuple):
    content: bytes
    digest: bytes


@dataclass
class _Kept:
    """The images that were seen, by their project, hash and detail. `vectors` are written or will be."""

    store: ImageStore
    seen: dict[tuple[str, bytes, Detail], SeenImage] = field(default_factory=dict)
    vectors: int = 0


class ServedImages:
    """Sees images with the tower of a base model in a folder. Only the event loop may call.

    A project's image is never found by another one: how long an answer takes tells nobody what others ask.
    """

    def __init__(
        self, tower: Tower, folder: Path, thread: SamplerThread, most_bytes: int = MOST_BYTES
    ) -> None:
        self._tower, self._thread, self._most_bytes = tower, thread, most_bytes
        self._reader = ImageReader(folder)
        self._turns = Turns(at_once=1)
        self._kept = _Kept(tower.new_store())

    async def see(self, project: str, images: Sequence[tuple[str, ImageUrl]]) -> PromptImages:
        """See the images of one prompt, each with its path in the request.

        Raises InvalidRequest and SamplingFailed.
        """
        async with self._turns.turn(project):
            if self._kept.vectors * self._kept.store.vector_bytes > self._most_bytes:
                self._kept = _Kept(self._tower.new_store())  # the old one lasts as long as its last answer
            seen = [await self._see(project, path, image) for path, image in images]
            return PromptImages(ConversationImages(self._reader.placeholders, seen), self._kept.store)

    def close(self) -> None:
        """End the process that reads images. No prompt may be at work any more."""
        self._reader.close()

    async def _see(self, project: str, path: str, image: ImageUrl) -> SeenImage:
        encoded = await in_daemon_thread(partial(_encoded, image.url), "image")
        detail, kept = image.detail or "auto", self._kept
        key = project, encoded.digest, detail
        if (known := kept.seen.get(key)) is None:
            inputs = await self._read(encoded.content, detail, path)
            first = kept.vectors
            kept.vectors += inputs.tokens  # at once: the tower may write them after this client has left
            try:
                await self._thread.compute(partial(self._tower.see, inputs.arrays, kept.store, first))
            except SamplerBroken as error:
                raise SamplingFailed(AGAIN) from error
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise _too_little_memory(path) from error
            known = kept.seen[key] = SeenImage(inputs.words, range(first, kept.vectors))
        return known

    async def _read(self, content: bytes, detail: Detail, path: str) -> ImageInputs:
        """Have the image decoded. Raises InvalidRequest."""
        reading = in_daemon_thread(partial(self._reader.read, content, detail, wants_arrays=True), "image")
        try:
            return await to_its_end(reading, Event())
        except UnusableImage as error:
            raise unusable_image(error, path) from error


def _encoded(url: str) -> _Encoded:
    content = encoded_image(url).content
    return _Encoded(content, hashlib.sha256(content).digest())


def _too_little_memory(path: str) -> InvalidRequest:
    message = f"There is too little memory for '{path}'. Send a smaller image, or one in low detail."
    return InvalidRequest(message, code="image_too_large", param=path)
