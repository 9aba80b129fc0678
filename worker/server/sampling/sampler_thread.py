"""The thread that runs the sampler. Requests come from the event loop, and pieces go back to it."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue

import structlog

from worker.device.time_slices import TimeSlices
from worker.device.watchdog import Watchdog
from worker.engine.sampler.requests import GenerationRequest, Piece
from worker.engine.sampler.sampler import Sampler

Deliver = Callable[[Piece], None]
Command = Callable[[], None]

log = structlog.get_logger()


class SamplerBroken(Exception):
    """A step of the sampler has failed, so that nothing can be computed with it any more."""


class SamplerThread:
    """Runs the steps of one sampler. Only the event loop may call."""

    def __init__(
        self,
        sampler: Sampler,
        slices: TimeSlices,
        watchdog: Watchdog,
        broken: Callable[[BaseException], None],
    ) -> None:
        """The event loop calls `broken` once if a step fails; every request has got an error then."""
        self._sampler, self._slices, self._watchdog, self._broken = sampler, slices, watchdog, broken
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[Command] = SimpleQueue()
        self._receivers: dict[str, Deliver] = {}
        self._submissions: set[Future[None]] = set()
        self._stopping = False
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    async def submit(self, request: GenerationRequest, deliver: Deliver) -> None:
        """Hand a request over; `deliver` gets its pieces, in the event loop.

        Raises RequestRefused and SamplerBroken.
        """
        if self._failed:
            raise SamplerBroken
        accepted: Future[None] = Future()
        self._receivers[request.id] = deliver
        self._submissions.add(accepted)
        self._inbox.put(partial(self._submit, request, accepted))
        try:
            await asyncio.wrap_future(accepted)
        finally:
            self._submissions.discard(accepted)

    def cancel(self, request_id: str) -> None:
        """Forget a request, if it has not ended."""
        if self._receivers.pop(request_id, None) is not None:
            self._inbox.put(partial(self._sampler.cancel, request_id))

    def end_all(self, message: str) -> None:
        """End all requests with an error, and take no more."""
        self._failed = True
        receivers, self._receivers = self._receivers, {}
        for request_id, deliver in receivers.items():
            deliver(Piece(request_id, None, "", finish_reason="error", error=message))

    async def stop(self) -> None:
        """End the thread after its present step."""
        self._inbox.put(self._stop)
        await asyncio.to_thread(self._thread.join)

    def _stop(self) -> None:
        self._stopping = True

    def _submit(self, request: GenerationRequest, accepted: "Future[None]") -> None:
        if not accepted.set_running_or_notify_cancel():
            return
        try:
            self._sampler.submit(request)
        except Exception as error:
            accepted.set_exception(error)
        else:
            accepted.set_result(None)

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wait_for_work()
                if not (self._stopping or self._sampler.idle):
                    with self._slices.slice() as goes_on:
                        self._compute_while(goes_on)
        except Exception as error:
            log.error("sampler_broken", exc_info=error)
            self._loop.call_soon_threadsafe(self._give_up, error)

    def _compute_while(self, goes_on: Callable[[], bool]) -> None:
        """Compute steps until the slice is over, or until there is nothing to compute."""
        self._obey()  # what came while this thread waited for its slice
        while not (self._stopping or self._sampler.idle):
            with self._watchdog.over():
                pieces = self._sampler.step()
            self._loop.call_soon_threadsafe(self._hand_out, pieces)
            self._obey()
            if not goes_on():
                return

    def _wait_for_work(self) -> None:
        if self._sampler.idle:
            self._inbox.get()()
        self._obey()

    def _obey(self) -> None:
        """Carry out all commands that have come."""
        try:
            while not self._stopping:
                self._inbox.get_nowait()()
        except Empty:
            return

    def _hand_out(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            deliver = self._receivers.get(piece.request_id)
            if deliver is None:
                continue
            if piece.finish_reason is not None:
                del self._receivers[piece.request_id]
            deliver(piece)

    def _give_up(self, error: BaseException) -> None:
        for accepted in self._submissions:
            if not accepted.done():
                accepted.set_exception(SamplerBroken())
        self.end_all("The computation failed.")
        self._broken(error)
