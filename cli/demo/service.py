"""Finds the service that runs on the demo's home, or starts one for the demo."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cli.client import output
from cli.client.errors import GaveUp
from cli.client.home import Home, read

STOP_SECONDS = 100.0
UNMEASURED = {"TUNERY_PORTABILITY_AT_PUBLICATION": "false"}  # the service ends before a measurement would


@contextmanager
def running_service(home: Home) -> Iterator[str]:
    """Yield the base URL of a service on `home`. One that starts here also stops here. Raises GaveUp."""
    running = read(home.base_url)
    if running and _answers(running):
        output.note(f"Using the service that runs at {running}")
        yield running
        return
    command = [sys.executable, "-m", "cli.main", "up", "--home", str(home.path), "--json"]
    process = subprocess.Popen(
        [*command, "--port", str(_free_port())],
        env={**UNMEASURED, **os.environ},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise GaveUp(f"The service did not start. Run `tunery up --home {home.path}` to see why")
        yield str(json.loads(line)["base_url"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)


def server_key(home: Home) -> str:
    """Return the first key, which `up` has written to the home."""
    key = read(home.api_key)
    if key is None:
        raise GaveUp(f"{home.api_key} is missing. `tunery keys create` makes a new key")
    return key


def _answers(base_url: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{base_url.removesuffix('/v1')}/readyz", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    """Return port 8000, the default of `up`, if it is free, else any free port."""
    for port in (8000, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise GaveUp("No port is free on 127.0.0.1")
