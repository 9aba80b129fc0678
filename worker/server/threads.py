"""Work in threads that do not keep the process alive: a stop does not wait for a model that loads."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, TypeVar

LOOK_SECONDS = 0.05  # between two looks whether the client is still there

Result = TypeVar("Result")


@dataclass
class Until:
    """How long the work on one request may go on: for some seconds, or until its client is gone."""

    seconds: float
    began: float = field(default_factory=time.monotonic)
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def left(self) -> float:
        """The seconds that are left; 0 if there are none."""
        return 0.0 if self.gone.is_set() else max(0.0, self.seconds - self.spent)

    @property
    def spent(self) -> float:
        """The seconds for which the work has gone on."""
        return time.monotonic() - self.began

    def wait(self, channel: Connection) -> bool:
        """Return whether something has come through the channel in time."""
        while (left := self.left) > 0:
            if channel.poll(min(left, LOOK_SECONDS)):
                return True
        return False


async def to_its_end(work: Coroutine[Any, Any, Result], gone: threading.Event) -> Result:
    """Await work that threads do, and return its result. Raises what it raises.

    If the caller is cancelled, its client is `gone`. This waits until the work has noticed that and ended:
    what the caller holds must not be free before.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        gone.set()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def in_daemon_thread(work: Callable[[], Result], name: str) -> Result:
    """Do the work in a thread of its own, and return its result. Raises what it raises.

    If the caller is cancelled, or the event loop ends, the work goes on and nobody gets its result.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def finish(result: Result | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
