"""The images of chats are seen once for each project, and are kept as long as they have room."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.errors import InvalidRequest
from core.serving.errors import SamplingFailed
from core.serving.schemas.messages import ImageUrl
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.models.vision import save_vision_model, smolvlm
from tests.fixtures.rows.images import data_url, encoded, picture
from worker.device.time_slices import TimeSlices
from worker.device.watchdog import Watchdog
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.tower import Tower
from worker.engine.sampler.sampler import Sampler
from worker.rows.image_store import ImageStore
from worker.server.sampling.sampler_thread import SamplerThread
from worker.server.sampling.served_images import MOST_BYTES, ServedImages

pytestmark = pytest.mark.slow
DEADLINE = 60  # seconds
FIRST, OTHER = (ImageUrl(url=data_url(encoded(picture(40, 24, seed)))) for seed in (0, 3))

Use = Callable[[ServedImages, "CountingTower"], Awaitable[None]]


class CountingTower(Tower):
    """Counts the images it sees, and raises `failure`, if there is one."""

    def __init__(self, base: ResidentBase) -> None:
        assert base.tower is not None
        self._tower = base.tower
        self.seen = 0
        self.failure: Exception | None = None

    def new_store(self, folder: Path | None = None) -> ImageStore:
        return self._tower.new_store(folder)

    def see(self, arrays: Mapping[str, NDArray[np.generic]], store: ImageStore, first: int) -> int:
        self.seen += 1
        if self.failure is not None:
            raise self.failure
        return self._tower.see(arrays, store, first)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ResidentBase:
    folder = tmp_path_factory.mktemp("model")
    save_vision_model(smolvlm, folder)
    entry = TINY.model_copy(update={"dtype": "fp32"})
    return ResidentBase(entry, folder, "0" * 64, torch.device("cpu"))


def with_images(base: ResidentBase, use: Use, most_bytes: int = MOST_BYTES) -> None:
    async def run() -> None:
        tower = CountingTower(base)
        thread = SamplerThread(Sampler(base), TimeSlices(), Watchdog(DEADLINE), lambda _: None)
        images = ServedImages(tower, base.folder, thread, most_bytes)
        try:
            async with asyncio.timeout(DEADLINE):
                await use(images, tower)
        finally:
            images.close()
            await thread.stop()

    asyncio.run(run())


def at_paths(*images: ImageUrl) -> list[tuple[str, ImageUrl]]:
    return [(f"messages[0].content[{i}].image_url.url", image) for i, image in enumerate(images)]


def test_an_image_is_seen_once_for_each_project_and_detail(base: ResidentBase) -> None:
    async def use(images: ServedImages, tower: CountingTower) -> None:
        first = await images.see("mine", at_paths(FIRST, OTHER, FIRST))
        again = await images.see("mine", at_paths(FIRST))
        assert tower.seen == 2
        assert again.store is first.store
        await images.see("mine", at_paths(FIRST.model_copy(update={"detail": "low"})))
        assert tower.seen == 3
        await images.see("another", at_paths(FIRST))
        assert tower.seen == 4

    with_images(base, use)


def test_images_without_room_are_forgotten_and_their_vectors_last_for_the_chats_at_work(
    base: ResidentBase,
) -> None:
    async def use(images: ServedImages, tower: CountingTower) -> None:
        first = await images.see("mine", at_paths(FIRST))
        vectors = first.store.read(np.arange(4))
        later = await images.see("mine", at_paths(FIRST))
        assert tower.seen == 2
        assert later.store.name != first.store.name
        assert (later.store.read(np.arange(4)) == vectors).all()
        assert (first.store.read(np.arange(4)) == vectors).all()

    with_images(base, use, most_bytes=0)


@pytest.mark.parametrize("failure", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_too_little_memory_is_told_with_the_images_path(base: ResidentBase, failure: Exception) -> None:
    async def use(images: ServedImages, tower: CountingTower) -> None:
        tower.failure = failure
        with pytest.raises(InvalidRequest, match=r"Send a smaller image") as raised:
            await images.see("mine", at_paths(FIRST))
        assert (raised.value.code, raised.value.param) == ("image_too_large", at_paths(FIRST)[0][0])
        tower.failure = None
        await images.see("mine", at_paths(FIRST))  # nothing is remembered of an image that was not seen

    with_images(base, use)


def test_an_image_that_breaks_the_device_is_told_as_a_failed_computation(base: ResidentBase) -> None:
    async def use(images: ServedImages, tower: CountingTower) -> None:
        tower.failure = RuntimeError("CUDA error: device-side assert triggered")
        for image in (FIRST, OTHER):
            with pytest.raises(SamplingFailed, match="Send the request again"):
                await images.see("mine", at_paths(image))

    with_images(base, use)
