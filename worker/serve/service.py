"""`tunery serve`: an HTTP server, and a thread that tells the database about it."""

import socket
from contextlib import suppress

from core.catalog import load_catalog
from core.database import create_database, session_factory
from core.ids import new_id
from core.logs import configure_logs
from core.serving.token import server_token
from core.settings import Settings
from worker.serve.admission import Admission
from worker.serve.app import ServerApp
from worker.serve.registration import Registration
from worker.serve.server import Server, read_by

EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104


def run_server(settings: Settings) -> bool:
    """Serve until SIGTERM or SIGINT. Return whether the server could start. Raises ConfigurationError."""
    configure_logs(settings.log_level, settings.log_json)
    server_token(settings.secret_keys)  # without a key, nobody could send a request
    engine = create_database(settings.server("database_url"), pool_size=1)
    sessions = session_factory(engine)
    bases = [entry.id for entry in load_catalog(settings.catalog_file)]
    admission = Admission(settings.serve_requests, settings.serve_wait_seconds)
    app = ServerApp(settings, admission)

    def register(port: int) -> Registration:
        state = read_by(app, admission)
        return Registration(sessions, new_id("server-"), address(settings, port), bases, state)

    server = Server(app, admission, settings.serve_host, settings.serve_port, register)
    with suppress(KeyboardInterrupt):
        server.run()
    return server.started


def address(settings: Settings, port: int) -> str:
    """Return the URL under which the API reaches this server."""
    if settings.serve_address is not None:
        return settings.serve_address
    host = settings.serve_host
    if host in EVERY_ADDRESS:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
