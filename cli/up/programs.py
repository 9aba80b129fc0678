"""`tunery api`, `worker`, `serve` and `migrate`: each runs one part of the service, from TUNERY_* settings.

`tunery up` runs `api`, `worker` and `serve` as child processes. In production, each command runs by itself.
"""

import os
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer

from cli.client import output
from cli.client.database import open_database
from cli.client.home import load_settings
from cli.up.loading import loading
from cli.up.preparation import prepare_object_store

JsonLog = Annotated[
    bool, typer.Option("--json", help="Log one JSON object on each line, on stderr, as TUNERY_LOG_JSON does")
]

COULD_NOT_START = 3  # the exit status that uvicorn uses for this


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on", show_default="8000")] = None,
    json: JsonLog = False,
) -> None:
    """Run the API alone, from TUNERY_* settings."""
    with loading():
        from api.app import create_app
        from api.server import Server
        from core.process.logs import configure_logs
        from core.tracing import spans

        settings = load_settings(host=host, port=port, log_json=json or None)
        configure_logs(settings.log_level, settings.log_json)
        spans.start("api")
        server = Server(create_app(settings), settings.host, settings.port)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise typer.Exit(COULD_NOT_START)


def worker(json: JsonLog = False) -> None:
    """Run one worker alone, from TUNERY_* settings."""
    with loading():
        from worker.supervisor.service import run_worker

    if json:
        os.environ["TUNERY_LOG_JSON"] = "true"  # the trainer, a process of its own, reads the variable too
    run_worker(load_settings())


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on", show_default="a free one")] = None,
    json: JsonLog = False,
) -> None:
    """Run a server alone, from TUNERY_* settings. It samples from models when clients chat with them."""
    from worker.process.environment import ensure_trainer_environment

    settings = load_settings(serve_host=host, serve_port=port, log_json=json or None)
    ensure_trainer_environment([sys.executable, "-m", "cli.main", *sys.argv[1:]])
    with loading():
        from worker.server.service import run_server
    if not run_server(settings):
        raise typer.Exit(COULD_NOT_START)


def migrate(
    contract_up_to: Annotated[
        str,
        typer.Option(
            metavar="REVISION",
            help="Apply the migrations up to this one also if older releases may run, which they would break",
            show_default=False,
        ),
    ] = "",
    json: output.Json = False,
) -> None:
    """Bring the database's tables up to date. Create the bucket if the settings name one that is missing.

    Several processes may do this at once. What only older releases use stays while one of them may run.
    """
    from core.schema import migrate as run_migrations

    settings = load_settings()
    with open_database(settings.direct_database_url) as engine:
        held = run_migrations(engine, contract_up_to=contract_up_to)
    done = "The database is up to date"
    if settings.s3_endpoint_url or settings.s3_bucket:
        prepare_object_store(settings)
        done += f", and the bucket {settings.s3_bucket} exists"
    if held is not None:
        which = ", ".join(held.revisions)
        done += f". Held back: {which}, which take away what older releases use. {held.advice}"
    if json:
        output.json({"migrated": True, "held_back": asdict(held) if held else None})
    else:
        output.note(done)
