"""The server in a trainer: it answers chats with the trainer's base model, in threads beside the training."""

import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module

import structlog

from core.settings import Settings
from worker.device.lending import Lending
from worker.process import stop_times
from worker.server.app import Answering, GetRenderer
from worker.server.server import Server
from worker.server.service import new_server

AGAIN_SECONDS = 10.0

log = structlog.get_logger()


class ServingThread:
    """Runs what `tunery serve` runs, but with base models that the trainer lends. Any thread may call."""

    def __init__(self, settings: Settings, lending: Lending) -> None:
        self._settings, self._lending = settings, lending
        self._stopping = threading.Event()
        self._server: Server | None = None
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests, and end those that are answered now as SIGTERM ends them in a server."""
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True

    def join(self) -> None:
        """Wait until the server has stopped."""
        self._thread.join(stop_times.SERVER)

    def _run(self) -> None:
        while not self._stopping.is_set():
            imports = partial(_import_answering, self._settings, self._lending)
            self._server = new_server(self._settings, imports)
            if self._stopping.is_set() or self._runs_to_its_end(self._server):
                return
            log.error("server_not_started", host=self._settings.serve_host, port=self._settings.serve_port)
            self._stopping.wait(AGAIN_SECONDS)

    def _runs_to_its_end(self, server: Server) -> bool:
        """Serve until told to stop. Return False if the address cannot be used."""
        try:
            server.run()
        except SystemExit:  # uvicorn's word for it
            return False
        return server.started


def _import_answering(settings: Settings, lending: Lending) -> Callable[[GetRenderer], Answering]:
    """Import the part that answers, at the first request, and return what makes it in the event loop."""
    return partial(import_module("worker.server.answering.answering").SamplerAnswering, settings, lending)
