"""The options of every command that talks to a server: its address, the key, and the output format."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

from cli.client import output
from cli.client.client import ApiKey, BaseUrl, connect
from cli.client.home import DEFAULT_HOME, HomeOption


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Turn a function into a command for Typer.

    The first two arguments of the function are a `Client` and whether to print JSON. They follow from the
    options of `_shared`. The command takes the other arguments of the function, and then these options.
    """

    @wraps(command)
    def run(home: Path, base_url: str | None, api_key: str | None, json: bool, **own: Any) -> None:
        with connect(home, base_url, api_key) as client:
            command(client, json, **own)

    _client, _json, *own = signature(command).parameters.values()
    parameters = [*own, *signature(_shared).parameters.values()]
    run.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _shared(
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """Declare the options of every command that talks to a server."""
