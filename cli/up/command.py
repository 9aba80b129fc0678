"""`tunery up`: runs the whole service on one machine, and leaves no process behind when it stops.

It locks the state folder, stops processes that an earlier run has left, and checks the port. Then it starts
the servers and the API at the same time, and prepares the tables and the first key. Once the API is ready, it
starts the worker and `tunery serve`, unless the worker's trainer answers chats. It stops all in the reverse
order; the worker saves a checkpoint first.
"""

import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api import stop_times as api_stop_times
from cli.client import output
from cli.client.client import connect
from cli.client.errors import GaveUp, Refused, Unreachable
from cli.client.home import DEFAULT_HOME, Home, HomeOption, load_settings, read
from cli.commands.dashboard import sign_in_url
from cli.private_files import write_private
from cli.up.addresses import reachable
from cli.up.children import WatchedChild, stop_leftovers
from cli.up.log_files import LogFiles, rotate
from cli.up.metrics import PORTS, Pages
from cli.up.preparation import load_preparation, prepare_database, prepare_object_store, secret_keys
from cli.up.servers import WatchedServer, servers
from cli.up.stopping import StopRequest
from core.errors import ConfigurationError
from worker.process import stop_times
from worker.process.environment import TRAINER_ENVIRONMENT

if TYPE_CHECKING:
    from core.settings import Settings

Watched = WatchedChild | WatchedServer | LogFiles

PATIENCE = 60.0  # seconds for which a server may be away at the start: it may start together with `up`
READY_SECONDS = 240.0  # a loaded machine may need minutes to import the libraries
TICK_SECONDS = 0.1

GRACE = {
    "api": float(api_stop_times.API),
    "worker": float(stop_times.WORKER),
    "serve": float(stop_times.SERVER),
}  # seconds that each part may take to stop

STARTED = {"api": "the API", "worker": "the worker", "serve": "the server that answers chats"}


def up(
    home: HomeOption = DEFAULT_HOME,
    host: Annotated[str | None, typer.Option(help="Address to listen on", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on", show_default="8000")] = None,
    json: output.Json = False,
) -> None:
    """Start everything on this machine: servers, API, worker and `tunery serve`. Ctrl-C stops it all.

    If TUNERY_{DATABASE,BROKER,S3_ENDPOINT}_URL and TUNERY_S3_BUCKET name your own servers, it starts none.
    """
    settings = load_settings(home=home, host=host, port=port)
    model = first_model(settings)
    folder = Home(settings.home.resolve())
    settings = settings.model_copy(update={"home": folder.path})
    folder.create()
    with StopRequest() as stop, ExitStack() as stack:
        stack.enter_context(locked(folder))
        stop_leftovers(folder, reversed(GRACE.items()), lambda: stop.urgent)
        require_free_port(settings.host, settings.port)
        pages = stack.enter_context(Pages.of(settings, programs_of(settings)))
        pages.write_targets(folder)
        settings = pages.settings
        watched, base_url = start(settings, folder, stop, stack)
        if not stop.made:
            announce(f"{base_url}/v1", model, folder, pages, json)
        tend(watched, stop)
        output.note("Stopping; the worker saves a checkpoint first. Press Ctrl-C again to stop at once.")


def start(settings: "Settings", home: Home, stop: StopRequest, stack: ExitStack) -> tuple[list[Watched], str]:
    """Start all programs and wait until the API is ready. `stack` stops them, the last one first."""
    base_url = f"http://{reachable(settings.host)}:{settings.port}"
    keys = secret_keys(settings, home)
    output.note(f"Starting {'Postgres, Valkey, S3 and ' * settings.needs_embedded_servers}{STARTED['api']}")
    chosen = stack.enter_context(servers(settings, home, keys))
    settings = chosen.settings
    os.environ.update(chosen.environment, **keys)
    write_private(home.base_url, f"{base_url}/v1\n")
    api = start_child("api", settings, home, stop, stack)  # loads its code while the servers start
    load_preparation()
    watched: list[Watched] = [*chosen.wait_until_ready(), api, LogFiles(home.logs)]
    if not stop.made:
        output.note("Preparing the bucket and the tables")
    patiently(lambda: prepare_object_store(settings), watched, stop)
    patiently(lambda: prepare_database(settings, home), watched, stop)
    deadline = time.monotonic() + READY_SECONDS
    tend(watched, stop, until=lambda: is_ready(base_url, deadline, api))
    if stop.made:
        return watched, base_url
    # Only now, so that they do not take the processors from the API while a person waits for it
    others = [name for name in programs_of(settings) if name != "api"]
    output.note(f"The API is ready. Starting {', '.join(STARTED[name] for name in others)}")
    return watched + [start_child(name, settings, home, stop, stack) for name in others], base_url


def programs_of(settings: "Settings") -> list[str]:
    """Return the programs to start. A worker whose trainer answers chats needs no server beside it."""
    return [name for name in GRACE if name != "serve" or not settings.serve_share]


def tend(watched: Sequence[Watched], stop: StopRequest, until: Callable[[], bool] = lambda: False) -> None:
    """Keep all of them running until a stop is requested, or `until` is true. Raises GaveUp."""
    while not stop.made and not until():
        for each in watched:
            each.tend()
        time.sleep(TICK_SECONDS)


def patiently(prepare: Callable[[], None], watched: Sequence[Watched], stop: StopRequest) -> None:
    """Prepare a server, and try again while it is away. Raises Unreachable if it stays away."""
    deadline = time.monotonic() + PATIENCE
    said = ""

    def is_prepared() -> bool:
        nonlocal said
        try:
            prepare()
        except Unreachable as error:
            if time.monotonic() > deadline:
                raise
            if str(error) != said:
                said = str(error)
                output.note(f"{said}. Trying for {PATIENCE:.0f} s", "yellow")
            return False
        return True

    tend(watched, stop, until=is_prepared)


def start_child(
    name: str, settings: "Settings", home: Home, stop: StopRequest, stack: ExitStack
) -> WatchedChild:
    rotate(home.logs / f"{name}.log")
    command = [sys.executable, "-m", "cli.main", name]
    environment = child_environment(settings)
    if name == "serve":
        environment = {**TRAINER_ENVIRONMENT, **environment}
    child = WatchedChild(name, command, environment, home, GRACE[name])
    stack.callback(child.stop, lambda: stop.urgent)
    child.start()
    return child


def child_environment(settings: "Settings") -> dict[str, str]:
    """Return this process's environment with the chosen settings and the addresses of the servers.

    PYTHONSAFEPATH keeps Python from importing a folder named `cli` in the current folder.
    """
    from core.settings import SERVER_FIELDS

    names = ("home", "host", "port", *SERVER_FIELDS)
    ports = {name: port for name in PORTS.values() if (port := getattr(settings, name))}
    chosen = {**{name: getattr(settings, name) for name in names}, **ports}
    source = str(Path(__file__).resolve().parents[2])
    return {
        **os.environ,
        **{f"TUNERY_{name.upper()}": str(value) for name, value in chosen.items()},
        "PYTHONPATH": os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH")))),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Hold the state folder's lock, so that only one `up` at a time uses the folder.

    The kernel releases the lock when the process dies. Raises ConfigurationError if another `up` has it.
    """
    path = home.run / "lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = f" (pid {pid})" if (pid := read(path)) else ""
            raise ConfigurationError(f"`tunery up` already runs on {home.path}{owner}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def require_free_port(host: str, port: int) -> None:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigurationError(
            f"Port {port} on {host} cannot be used ({error.strerror}); choose another with --port"
        ) from error


def is_ready(base_url: str, deadline: float, api: WatchedChild) -> bool:
    """Return whether /readyz answers 200. Raises GaveUp after the deadline, with the last answer."""
    import httpx

    try:
        answer = httpx.get(f"{base_url}/readyz", timeout=5, trust_env=False)
    except httpx.HTTPError as error:
        said = str(error)
    else:
        if answer.status_code == httpx.codes.OK:
            return True
        said = answer.text
    if time.monotonic() > deadline:
        raise GaveUp(f"The API is not ready after {READY_SECONDS:.0f} s: {said}. Its log: {api.log}")
    return False


def first_model(settings: "Settings") -> str:
    """Return the id of the first base model, for the example. Raises ConfigurationError."""
    from core.catalog import offered_models

    return next(iter(offered_models(settings))).id


def announce(base_url: str, model: str, home: Home, pages: Pages, json: bool) -> None:
    option = "" if home.path == DEFAULT_HOME.resolve() else f" --home {home.path}"
    command = f"tunery files sample && tunery jobs create train.jsonl --model {model} --wait{option}"
    dashboard = dashboard_url(home)
    if not json:
        output.data(f"Tunery is ready at {base_url}")
        output.data(f"API key:   {home.api_key}")
        output.data(f"Dashboard: {dashboard or 'not built; `make setup` builds it'}")
        output.data(f"Metrics:   {' '.join(pages.urls.values())}")
        output.data(f"Next:      {command}")
        return
    facts = {
        "base_url": base_url,
        "api_key_file": str(home.api_key),
        "dashboard": dashboard,
        "home": str(home.path),
        "logs": {name: str(home.logs / f"{name}.log") for name in pages.urls},
        "metrics": pages.urls,
        "pid": os.getpid(),
        "next": command,
    }
    output.json(facts)


def dashboard_url(home: Home) -> str | None:
    """Return a link that signs in once, or None if the dashboard is not built.

    If the API refuses to make a link, return the dashboard's address, at which a person signs in with a key.
    """
    from api.dashboard import BUILT, PAGE

    if not (BUILT / PAGE).exists():
        return None
    with connect(home.path, None, None) as client:
        try:
            return sign_in_url(client)
        except Refused:
            return client.base_url.removesuffix("/v1")
