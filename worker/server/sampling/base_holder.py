"""The base model that a server holds: who uses it, who waits for another one, when it is released."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from core.catalog import BaseModelEntry
from worker.engine.device.free_memory import collect_garbage
from worker.server.sampling.loaded_base import LoadedBase

Load = Callable[[BaseModelEntry], Awaitable[LoadedBase]]
"""Loads the base model, in the precision of the entry."""

log = structlog.get_logger()


@dataclass
class _Ticket:
    entry: BaseModelEntry
    granted: "asyncio.Future[LoadedBase]"


class BaseHolder:
    """Holds at most one base model. Only the event loop may call.

    Requests use the model in the order of their arrival. A request for another model waits until those before
    it have ended, and those after it wait for it: so no model is kept out for ever.
    """

    def __init__(self, load: Load, released: Callable[[], None], idle_seconds: float) -> None:
        """`released` is called when nothing refers to a base model any more."""
        self._load, self._released, self._idle_seconds = load, released, idle_seconds
        self._loaded: LoadedBase | None = None
        self._leaving = False
        self._users = 0
        self._waiting: deque[_Ticket] = deque()
        self._change: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def loaded(self) -> LoadedBase | None:
        """The base model in memory, if any. May be read from any thread."""
        return self._loaded

    @asynccontextmanager
    async def use(self, entry: BaseModelEntry) -> AsyncIterator[LoadedBase]:
        """Yield the base model when the requests before this one let it. Raises what loading raises."""
        base = await self._granted(entry)
        try:
            yield base
        finally:
            del base
            self._give_back()

    def let_go(self) -> None:
        """Release the model as soon as those that use it now have ended. Others wait for another one."""
        self._leaving = True
        self._advance()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._change is not None:
            self._change.cancel()  # what is being loaded ends with the process
        else:
            await self._release()

    async def _granted(self, entry: BaseModelEntry) -> LoadedBase:
        ticket = _Ticket(entry, asyncio.get_running_loop().create_future())
        self._waiting.append(ticket)
        self._advance()
        try:
            return await ticket.granted
        except asyncio.CancelledError:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                self._advance()
            elif ticket.granted.done() and not ticket.granted.cancelled() and not ticket.granted.exception():
                self._give_back()  # it was granted and cancelled at once
            raise

    def _give_back(self) -> None:
        self._users -= 1
        self._advance()

    def _advance(self) -> None:
        """Let the next requests use the model, and change the model if the next one wants another."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._change is None:
            ticket = self._waiting[0]
            if ticket.granted.cancelled():
                self._waiting.popleft()
            elif (loaded := self._loaded_as(ticket.entry)) is not None:
                self._waiting.popleft()
                self._users += 1
                ticket.granted.set_result(loaded)
            elif self._users:
                return
            else:
                self._change = asyncio.create_task(self._change_to(ticket.entry))
        if not self._users and self._change is None and self._loaded is not None:
            delay = 0.0 if self._leaving else self._idle_seconds
            self._timer = asyncio.get_running_loop().call_later(delay, self._release_idle)

    def _loaded_as(self, entry: BaseModelEntry) -> LoadedBase | None:
        """Return the model in memory if it computes what `entry` describes, and is not to be released."""
        loaded = None if self._leaving else self._loaded
        return loaded if loaded is not None and loaded.entry.computes_like(entry) else None

    async def _change_to(self, entry: BaseModelEntry) -> None:
        try:
            await self._release()
            self._loaded = await self._load(entry)
        except Exception as error:
            self._refuse(entry, error)
        finally:
            self._change = None
        self._advance()

    def _refuse(self, entry: BaseModelEntry, error: Exception) -> None:
        """Give the error to all who wait for this model."""
        refused = [ticket for ticket in self._waiting if ticket.entry.computes_like(entry)]
        for ticket in refused:
            self._waiting.remove(ticket)
            if not ticket.granted.done():
                ticket.granted.set_exception(error)

    def _release_idle(self) -> None:
        self._timer = None
        self._change = asyncio.create_task(self._release_and_advance())

    async def _release_and_advance(self) -> None:
        try:
            await self._release()
        finally:
            self._change = None
        self._advance()

    async def _release(self) -> None:
        loaded, self._loaded, self._leaving = self._loaded, None, False
        if loaded is not None:
            log.info("base_model_released", model=loaded.id)
            device = loaded.device
            await loaded.release()
            del loaded
            await asyncio.to_thread(collect_garbage, device)
            self._released()
