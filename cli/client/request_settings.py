"""Options that several commands share, and `--set PATH=VALUE` for request parameters that have no option."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import ConfigurationError

Training = Annotated[
    str,
    typer.Argument(metavar="FILE-OR-ID", help="A local .jsonl file, or a file id (file-…)"),
]
Model = Annotated[
    str | None,
    typer.Option(metavar="ID", help="A base model, or a fine-tuned one. Without it, the error names them"),
]
Suffix = Annotated[str | None, typer.Option(help="Text to put into the new model's name")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same adapter")]

Grader = Annotated[
    Path | None,
    typer.Option(
        metavar="JSON-FILE",
        exists=True,
        dir_okay=False,
        help="The grader that judges answers, as a job with --method reinforcement takes it",
    ),
]

EXAMPLE = '{"type": "string_check", …}'

Setting = tuple[list[str], Any]


def set_option(example: str) -> Any:
    """Return the option `--set`, whose help shows an example."""
    return typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help=f"Any other parameter of the request, such as {example}; may be repeated",
    )


Settings = Annotated[list[str] | None, set_option("adapter.use_dora=true")]


def read_grader(path: Path) -> dict[str, Any]:
    """Return the grader in a file. Raises ConfigurationError."""
    try:
        grader = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} holds no grader as JSON: {error}") from error
    if not isinstance(grader, dict):
        raise ConfigurationError(f"{path} holds no grader: a grader is a JSON object, such as {EXAMPLE}")
    return grader


def read_settings(given: Sequence[str]) -> list[Setting]:
    """Return the names in each path, and the value: parsed as JSON if possible, otherwise the text itself.

    Raises ConfigurationError.
    """
    return [_read(one) for one in given]


def _read(given: str) -> Setting:
    path, equals, text = given.partition("=")
    names = path.split(".")
    if not equals or not all(names):
        raise ConfigurationError(f"--set takes PATH=VALUE, such as adapter.r=8, not {given!r}")
    try:
        return names, json.loads(text)
    except ValueError:
        return names, text


def with_settings(request: dict[str, Any], settings: Sequence[Setting]) -> dict[str, Any]:
    """Return the request with the settings in it. If two settings have the same path, the last one wins.

    If `method` then has the options of one objective but no `type`, this objective becomes the type.
    """
    for names, value in settings:
        request = _with(request, names, value)
    method = request.get("method")
    if isinstance(method, dict) and "type" not in method and len(method) == 1:
        request = {**request, "method": {"type": next(iter(method)), **method}}
    return request


def _with(within: dict[str, Any], names: list[str], value: Any) -> dict[str, Any]:
    name, *deeper = names
    if deeper:
        inner = within.get(name)
        value = _with(inner if isinstance(inner, dict) else {}, deeper, value)
    return {**within, name: value}
