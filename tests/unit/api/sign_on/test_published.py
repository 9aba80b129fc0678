"""What the provider publishes is read once for all who need it, and a failure is remembered for a moment."""

import asyncio
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from api.sign_on.problems import problem
from api.sign_on.published import Published
from api.sign_on.requests import Requests
from core.errors import AppError, Unavailable


class Source:
    """What can be read: it answers when it is told to, with the error if there is one."""

    def __init__(self) -> None:
        self.readings = 0
        self.error: AppError | None = None
        self.answers = asyncio.Event()

    async def read(self) -> int:
        self.readings += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return self.readings


async def _asked(published: Published[int], times: int) -> list[int | BaseException]:
    return await asyncio.gather(*(published.get() for _ in range(times)), return_exceptions=True)


def test_all_who_wait_share_one_reading_and_its_failure() -> None:
    async def run() -> None:
        source = Source()
        source.error = problem("sign_on_unavailable")
        published = Published(source.read)
        waiting = asyncio.create_task(_asked(published, 50))
        await asyncio.sleep(0)
        source.answers.set()
        failures = await waiting + await _asked(published, 50)
        assert all(isinstance(each, Unavailable) for each in failures)
        assert source.readings == 1

    asyncio.run(run())


def test_one_who_leaves_does_not_end_the_reading_of_the_others() -> None:
    async def run() -> None:
        source = Source()
        published = Published(source.read)
        first, second = (asyncio.create_task(published.get()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        source.answers.set()
        assert await second == 1

    asyncio.run(run())


def test_what_was_read_before_counts_while_it_cannot_be_read_again() -> None:
    async def run() -> None:
        source = Source()
        source.answers.set()
        published = Published(source.read)
        published.rest_seconds = published.failed_seconds = 0.0
        assert await published.get() == 1
        source.error = problem("sign_on_unavailable")
        assert await published.get(again=True) == 1
        source.error = None
        assert await published.get(again=True) == 3

    asyncio.run(run())


def test_an_answer_that_comes_drop_by_drop_takes_no_longer_than_its_time() -> None:
    """Otherwise, a provider that never ends its answer would hold a request for ever."""
    over = Event()

    class Dripping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not over.wait(0.05):
                self.wfile.write(b" ")
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    async def run() -> None:
        requests = Requests(timeout=0.3)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(requests.ask("GET", f"http://127.0.0.1:{server.server_port}/"), 10)
        await requests.close()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        asyncio.run(run())
    finally:
        over.set()
        server.shutdown()
        server.server_close()
