"""The thread that runs the sampler. Requests come from the event loop, and pieces go back to it."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import structlog

from worker.device.time_slices import TimeSlices
from worker.device.watchdog import Watchdog
from worker.engine.device.health import device_is_broken
from worker.engine.sampler.requests import GenerationRequest, Piece
from worker.engine.sampler.sampler import Sampler

AGAIN = "The computation failed. Send the request again."

Deliver = Callable[[Piece], None]
Command = Callable[[], object]
Result = TypeVar("Result")

log = structlog.get_logger()


class SamplerBroken(Exception):
    """The sampler or its device has failed, so that nothing can be computed with it any more."""


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
        self._work: deque[Command] = deque()  # for the device, beside the sampler's steps
        self._awaited: set[Future[Any]] = set()
        self._stopping = False
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    async def submit(self, request: GenerationRequest, deliver: Deliver) -> None:
        """Hand a request over; `deliver` gets its pieces, in the event loop.

        Raises RequestRefused and SamplerBroken.
        """
        self._receivers[request.id] = deliver
        await self._outcome(partial(self._sampler.submit, request), self._inbox.put)

    async def compute(self, work: Callable[[], Result]) -> Result:
        """Do the work on the sampler's device, between two steps, and return its result.

        Raises what it raises, and SamplerBroken.
        """
        return await self._outcome(work, lambda command: self._inbox.put(partial(self._work.append, command)))

    async def _outcome(self, call: Callable[[], Result], hand_over: Callable[[Command], None]) -> Result:
        """Return what a call returns or raises that is handed over to the thread. Raises SamplerBroken."""
        if self._failed:
            raise SamplerBroken
        outcome: Future[Result] = Future()
        self._awaited.add(outcome)
        hand_over(partial(_settle, call, outcome))
        try:
            return await asyncio.wrap_future(outcome)
        finally:
            self._awaited.discard(outcome)

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

    @property
    def _idle(self) -> bool:
        return self._sampler.idle and not self._work

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wait_for_work()
                if not (self._stopping or self._idle):
                    with self._slices.slice() as goes_on:
                        self._compute_while(goes_on)
        except Exception as error:
            log.error("sampler_broken", exc_info=error)
            self._loop.call_soon_threadsafe(self._give_up, error)

    def _compute_while(self, goes_on: Callable[[], bool]) -> None:
        """Compute steps, and other work between them, until the slice or all that is to be done is over."""
        self._obey()  # what came while this thread waited for its slice
        while not (self._stopping or self._idle):
            with self._watchdog.over():
                if self._work:
                    self._work.popleft()()
                pieces = [] if self._sampler.idle else self._sampler.step()
            self._loop.call_soon_threadsafe(self._hand_out, pieces)
            self._obey()
            if not goes_on():
                return

    def _wait_for_work(self) -> None:
        if self._idle:
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
        for outcome in self._awaited:
            if not outcome.done():
                outcome.set_exception(SamplerBroken())
        self.end_all("The computation failed.")
        self._broken(error)


def _settle(call: Callable[[], Result], outcome: "Future[Result]") -> None:
    """Call, unless nobody waits any more. Raises the error of a device that is broken."""
    if not outcome.set_running_or_notify_cancel():
        return
    try:
        outcome.set_result(call())
    except Exception as error:
        if device_is_broken(error):
            outcome.set_exception(SamplerBroken())
            raise
        outcome.set_exception(error)
