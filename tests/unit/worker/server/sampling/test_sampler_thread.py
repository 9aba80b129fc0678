"""The sampler's thread answers everyone who waits for it, also when its device breaks."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from worker.device.time_slices import TimeSlices
from worker.device.watchdog import Watchdog
from worker.engine.sampler.requests import GenerationRequest, Piece, Sampling
from worker.engine.sampler.sampler import Sampler
from worker.server.sampling.sampler_thread import SamplerBroken, SamplerThread

DEADLINE = 30  # seconds
BROKEN = RuntimeError("CUDA error: an illegal memory access was encountered")


class FailingSampler(Sampler):
    """Takes any request, and fails in the step that would answer it."""

    def __init__(self) -> None:
        self._submitted: list[GenerationRequest] = []

    @property
    def idle(self) -> bool:
        return not self._submitted

    def submit(self, request: GenerationRequest) -> None:
        self._submitted.append(request)

    def step(self) -> list[Piece]:
        raise ValueError("a fault of the sampler")


def with_thread(use: Callable[[SamplerThread, list[BaseException]], Awaitable[None]]) -> None:
    """Use a thread and the list of what has broken it, in an event loop."""

    async def run() -> None:
        failures: list[BaseException] = []
        watchdog = Watchdog(DEADLINE)
        thread = SamplerThread(FailingSampler(), TimeSlices(), watchdog, failures.append)
        async with asyncio.timeout(DEADLINE):
            await use(thread, failures)
            await thread.stop()

    asyncio.run(run())


def fail(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def request(name: str) -> GenerationRequest:
    return GenerationRequest(name, [1], Sampling(max_tokens=1))


def test_work_that_fails_is_its_own_clients_matter() -> None:
    async def use(thread: SamplerThread, failures: list[BaseException]) -> None:
        with pytest.raises(ValueError, match="a bad image"):
            await thread.compute(fail(ValueError("a bad image")))
        assert await thread.compute(lambda: 7) == 7
        assert not failures

    with_thread(use)


def test_a_device_that_breaks_is_told_to_all_who_wait_and_to_all_who_come() -> None:
    async def use(thread: SamplerThread, failures: list[BaseException]) -> None:
        pieces: list[Piece] = []
        waiting = [asyncio.ensure_future(thread.compute(work)) for work in (fail(BROKEN), lambda: None)]
        for each in [*waiting, thread.compute(lambda: None)]:
            with pytest.raises(SamplerBroken):
                await each
        with pytest.raises(SamplerBroken):
            await thread.submit(request("late"), pieces.append)
        assert failures == [BROKEN]

    with_thread(use)


def test_a_step_that_fails_ends_every_request() -> None:
    async def use(thread: SamplerThread, failures: list[BaseException]) -> None:
        ended: asyncio.Future[Piece] = asyncio.get_running_loop().create_future()
        await thread.submit(request("one"), ended.set_result)
        piece = await ended
        assert (piece.finish_reason, piece.error) == ("error", "The computation failed.")
        assert [str(failure) for failure in failures] == ["a fault of the sampler"]

    with_thread(use)
