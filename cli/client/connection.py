"""What all commands share that talk to a server: how they are told where it is, and how to print."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

from cli.client import output
from cli.client.client import ApiKey, BaseUrl, connect
from cli.client.home import DEFAULT_HOME, HomeOption


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """A command for Typer, of a function of a `Client`, of whether to print JSON, and of its own arguments.

    Those come first, as they are; the options of `_shared` follow, and lead to the other two.
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
    """The options of every such command."""
