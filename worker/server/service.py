"""`tunery serve`: an HTTP server, and a thread that tells the database about it.

A trainer that shares its device runs the same server in a thread of its own: see
`worker/trainer/train/serving.py`.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from core.catalog import Catalog, offered_models
from core.database import create_database, session_factory
from core.errors import ConfigurationError
from core.ids import new_id
from core.process.logs import configure_logs
from core.serving.token import server_token
from core.settings import Settings
from core.tracing import spans
from worker.process.newer_tables import TablesWatch, refuse_newer_tables
from worker.server.app import Answering, GetRenderer, ImportAnswering, ServerApp
from worker.server.registration import NotReady, Registration
from worker.server.server import Server, read_by
from worker.server.upstream.connection import StateWhileAnswering, Upstream
from worker.server.upstream.errors import UpstreamLost

EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104


def run_server(settings: Settings) -> bool:
    """Serve until SIGTERM or SIGINT. Return whether the server could start. Raises ConfigurationError."""
    configure_logs(settings.log_level, settings.log_json)
    spans.start("server")
    server = new_server(settings)
    with suppress(KeyboardInterrupt):
        server.run()
    return server.started


def new_server(settings: Settings, imports: ImportAnswering | None = None) -> Server:
    """Return a server. `imports` gives the part that answers, in place of its own one or of an upstream.

    Raises ConfigurationError.
    """
    server_token(settings.secret_keys)  # without a key, nobody could send a request
    engine = create_database(settings.server("database_url"), pool_size=1)
    if imports is None:
        refuse_newer_tables(engine)
    sessions = session_factory(engine)
    upstream = None if imports else Upstream.of(settings)
    catalog = offered_models(settings)
    bases = partial(bases_of, catalog, upstream)
    bases()  # raises an error now, before the server is there
    app = ServerApp(settings, imports or partial(import_answering, settings, upstream))

    def register(port: int) -> Registration:
        state: Callable[[], dict[str, Any]] = partial(_state_on_our_tables, TablesWatch(engine), read_by(app))
        if upstream is not None:
            lost = partial(app.admission.end_all, UpstreamLost("it has been silent for a while"))
            state = StateWhileAnswering(
                upstream, state, partial(asyncio.get_running_loop().call_soon_threadsafe, lost)
            )
        return Registration(sessions, new_id("server-"), address(settings, port), bases, state)

    return Server(app, settings.serve_host, settings.serve_port, register)


def _state_on_our_tables(tables: TablesWatch, state: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the server's state. Raises NotReady on tables that lack what this release uses."""
    if wrong := tables.too_new():
        raise NotReady(f"The tables are {wrong}.")
    return state()


def bases_of(catalog: Catalog, upstream: Upstream | None) -> list[str]:
    """Return the ids of the base models that this server answers with. Raises ConfigurationError."""
    bases = [entry.id for entry in catalog]
    if upstream is None:
        return bases
    if upstream.base not in bases:
        raise ConfigurationError(
            f"TUNERY_SERVE_UPSTREAM names the base model '{upstream.base}', which the catalog does not "
            f"have. It has: {', '.join(bases)}."
        )
    return [upstream.base]


def import_answering(settings: Settings, upstream: Upstream | None) -> Callable[[GetRenderer], Answering]:
    """Import the part that answers, and with it torch. Return what makes it in the event loop."""
    if upstream is None:
        return partial(import_module("worker.server.answering.answering").SamplerAnswering, settings, None)
    return partial(import_module("worker.server.upstream.answering").UpstreamAnswering, settings, upstream)


def address(settings: Settings, port: int) -> str:
    """Return the URL under which the API reaches this server."""
    if settings.serve_address is not None:
        return settings.serve_address
    host = settings.serve_host
    if host in EVERY_ADDRESS:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
