"""Work in threads: whoever waits for its end goes on only then."""

import asyncio
import threading
from functools import partial

import pytest

from worker.server.threads import in_daemon_thread, to_its_end

SECONDS = 60


def test_a_caller_that_is_cancelled_ends_only_once_its_work_has_noticed_that_and_ended() -> None:
    async def scenario() -> None:
        begun, gone, may_end = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            gone.wait(SECONDS)
            may_end.wait(SECONDS)
            raise ValueError

        caller = asyncio.create_task(to_its_end(in_daemon_thread(work, "work"), gone))
        await asyncio.to_thread(begun.wait, SECONDS)
        caller.cancel()
        assert await asyncio.to_thread(gone.wait, SECONDS)
        assert not caller.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(caller, SECONDS)

    asyncio.run(scenario())


def test_a_result_and_an_error_reach_the_caller() -> None:
    async def scenario() -> None:
        assert await to_its_end(in_daemon_thread(partial(int, "7"), "work"), threading.Event()) == 7
        with pytest.raises(ValueError, match="seven"):
            await to_its_end(in_daemon_thread(partial(int, "seven"), "work"), threading.Event())

    asyncio.run(scenario())
