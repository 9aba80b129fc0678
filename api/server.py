"""uvicorn with four changes: how it stops, who refuses requests, a page of metrics, aborted connections.

When it is told to stop, it ends open event streams and runs of graders at once. Otherwise they would keep it
running for all of `stop_times.REQUESTS`. Chats go on for nearly as long, and then end with an error.

The app itself refuses requests beyond the connections that it can hold. It aborts a connection whose client
hardly reads: one that is only closed stays open until its client has read everything.

The page for Prometheus has a port and threads of its own.
"""

import asyncio
from socket import socket
from typing import Any

import uvicorn
from fastapi import FastAPI

from api import stop_times
from api.descriptors import connection_limit
from api.monitoring.page import start_page
from core.monitoring.page import MetricsPage
from core.tracing import spans

# An idle connection stays open for so many seconds. Clients (Go: 90) and proxies (nginx: 60) close theirs
# sooner, so that none sends a request just as we close. uvicorn's default of 5 is the same as httpx's.
IDLE_SECONDS = 120


class Server(uvicorn.Server):
    """Serves the API until it is told to stop."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,  # its lines go to the same log as ours, in the same form
            access_log=False,  # `api.http.boundary` writes a line for each request
            timeout_graceful_shutdown=stop_times.REQUESTS,
            timeout_keep_alive=IDLE_SECONDS,
        )
        super().__init__(config)
        most = connection_limit()
        app.state.is_crowded = lambda: len(self.server_state.connections) >= most
        self._feed = app.state.event_feed
        self._processes = app.state.grader_processes, app.state.image_processes
        self._chat = app.state.chat
        self._app_state = app.state
        self._page: MetricsPage | None = None

    async def startup(self, sockets: list[socket] | None = None) -> None:
        self.config.http_protocol_class = _abortable(self.config.http_protocol_class)
        self._page = start_page(self._app_state.settings, self._app_state.recorder)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._feed.close()
        for each in self._processes:
            each.close()
        self._chat.stop_within(stop_times.REQUESTS)
        await super().shutdown(sockets)
        if self._page is not None:
            await asyncio.to_thread(self._page.close)
        await asyncio.to_thread(spans.stop)  # uvicorn repeats the signal afterwards, which ends the process


def _abortable(protocol: Any) -> type[asyncio.Protocol]:
    """Return the protocol, which tells each request how to abort its connection: `state["abort"]`."""

    class Abortable(protocol):
        app_state: dict[str, Any]

        def connection_made(self, transport: asyncio.Transport) -> None:
            self.app_state = {**self.app_state, "abort": transport.abort}
            super().connection_made(transport)

    return Abortable
