"""A line to a server that breaks when it is told to: it is reset, cut, slow or silent, or loses answers."""

import asyncio
import random
import socket
import struct
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit

CHUNK = 65536
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: what closes the line resets it


class Relay:
    """Passes on what comes, until it is told otherwise. Its methods are called from other threads."""

    def __init__(self, server: str, loop: asyncio.AbstractEventLoop) -> None:
        """`server` is the URL of the server. The relay's own is `url`, once it listens."""
        self.url = ""
        self.delay = 0.0
        """Seconds for which each piece waits before it is passed on"""
        self.loss = 0.0
        """The share of answers that are lost: the server gives them, and then the line is reset"""
        self.silent = False
        """Whether lines stay open and nothing is passed on, in either direction"""
        self._server = server
        self._loop = loop
        self._to_clients: set[StreamWriter] = set()

    @classmethod
    @contextmanager
    def to(cls, server: str) -> Iterator[Self]:
        """Yield a relay that listens, in front of the server with this URL."""
        loop = asyncio.new_event_loop()
        relay = cls(server, loop)
        thread = threading.Thread(target=loop.run_forever, name="relay", daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(relay.listen(), loop).result()
        try:
            yield relay
        finally:
            asyncio.run_coroutine_threadsafe(_end_all_else(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def listen(self) -> None:
        listening = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        there = urlsplit(self._server)
        user, at, _ = there.netloc.rpartition("@")
        self.url = urlunsplit(there._replace(netloc=f"{user}{at}127.0.0.1:{port}"))

    def reset(self) -> None:
        """Reset all open lines. Clients may connect again at once."""
        self._on_each_line(reset)

    def half_close(self) -> None:
        """End all open lines in one direction: no more answers come, and requests are still taken."""
        self._on_each_line(_end)

    def _on_each_line(self, act: Callable[[StreamWriter], None]) -> None:
        def on_each() -> None:
            for line in list(self._to_clients):
                act(line)

        self._loop.call_soon_threadsafe(on_each)

    async def _connect(self, from_client: StreamReader, to_client: StreamWriter) -> None:
        there = urlsplit(self._server)
        try:
            from_server, to_server = await asyncio.open_connection(there.hostname, there.port)
        except OSError:  # the server is away, and so is the line to it
            reset(to_client)
            return
        self._to_clients.add(to_client)
        ways = [
            asyncio.create_task(self._ask(from_client, to_server)),
            asyncio.create_task(self._answer(from_server, to_client)),
        ]
        with suppress(asyncio.CancelledError):  # the relay is closed
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)  # either end may go at any time
        self._to_clients.discard(to_client)
        to_server.close()
        to_client.close()

    async def _ask(self, from_client: StreamReader, to_server: StreamWriter) -> None:
        while chunk := await from_client.read(CHUNK):
            await self._pass_on(chunk, to_server)

    async def _answer(self, from_server: StreamReader, to_client: StreamWriter) -> None:
        while chunk := await from_server.read(CHUNK):
            if random.random() < self.loss:
                reset(to_client)
                return
            await self._pass_on(chunk, to_client)

    async def _pass_on(self, chunk: bytes, to: StreamWriter) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        if not self.silent:
            to.write(chunk)
            await to.drain()


def reset(line: StreamWriter) -> None:
    line.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    line.transport.abort()


def _end(line: StreamWriter) -> None:
    with suppress(OSError, RuntimeError):  # it may have ended already
        line.write_eof()


async def _end_all_else() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
