"""uvicorn with three changes: the server registers itself while it goes on, drains, and bounds strangers."""

import asyncio
from collections.abc import Callable
from socket import socket
from typing import Any

import uvicorn

from core.tracing import spans
from worker.process import stop_times
from worker.server.app import ServerApp
from worker.server.registration import Registration
from worker.server.strangers import Strangers, guarded

IDLE_SECONDS = 120  # an idle connection of the API stays open for so long
BACKLOG = 2048  # more requests than are admitted may arrive at once, and each gets an answer


class Server(uvicorn.Server):
    """Serves until SIGTERM or SIGINT. `register` gets the port and returns the registration."""

    def __init__(
        self,
        app: ServerApp,
        host: str,
        port: int,
        register: Callable[[int], Registration],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                loop="uvloop",  # asyncio's own accepts all connections that wait before it reads a header
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                backlog=BACKLOG,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=stop_times.MARGIN,
            )
        )
        self._app, self._register = app, register
        self._registration: Registration | None = None

    async def startup(self, sockets: list[socket] | None = None) -> None:
        self.config.http_protocol_class = guarded(self.config.http_protocol_class, Strangers())
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            self._registration = self._register(port)
            await asyncio.to_thread(self._registration.begin)

    async def on_tick(self, counter: int) -> bool:
        if self._registration is not None:
            self._registration.tick()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._app.admission.draining = True
        if self._registration is not None:
            await asyncio.to_thread(self._registration.leave)
        await self._app.admission.drain(stop_times.STREAMS)
        await super().shutdown(sockets)
        await self._app.close()
        await asyncio.to_thread(spans.stop)  # uvicorn repeats the signal afterwards, which ends the process


def read_by(app: ServerApp) -> Callable[[], dict[str, Any]]:
    """Return the function that reads the columns of the server's row that change."""

    def state() -> dict[str, Any]:
        admission = app.admission
        running = admission.running
        return {
            "resident": app.resident,
            "adapters": app.warm_adapters,
            "running": running,
            "waiting": max(0, admission.held - running),
            "capacity": admission.capacity,
            "draining": admission.draining,
        }

    return state
