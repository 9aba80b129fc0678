"""uvicorn, which ends pushed streams when it is told to stop: they would keep it for its whole grace else."""

from socket import socket

import uvicorn
from fastapi import FastAPI

# Seconds that open requests may go on when the API is asked to stop
GRACE_SECONDS = 10
# That an idle connection stays open: longer than clients (Go 90) and proxies (nginx 60) keep theirs, or one
# of them sends a request just as we close. uvicorn's 5 are httpx's, to the second
IDLE_SECONDS = 120


class Server(uvicorn.Server):
    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,  # its lines go where the others go, and look alike
            access_log=False,  # `api.http.boundary` writes a line of each request
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=IDLE_SECONDS,
        )
        super().__init__(config)
        self._feed = app.state.event_feed

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._feed.close()
        await super().shutdown(sockets)
