"""Uploads local files, for the commands that name one, and checks first what they are for."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cli.client import output
from cli.client.client import Client
from cli.client.errors import CommandError, Refused
from cli.client.request_settings import Setting
from core.errors import ConfigurationError

NOT_FOUND = 404
TO_BE_LOOKED_AT = "user_data"  # the purpose of a file of which the upload refuses no row
NEWEST = 100  # files among which the content of a local one is looked for


def send(client: Client, path: Path, purpose: str = "fine-tune") -> dict[str, Any]:
    """Upload a file, with a progress bar on stderr if stderr is a terminal."""
    from rich.progress import open as open_with_progress

    console = output.stderr()
    quiet = not console.is_terminal
    with open_with_progress(
        path,
        "rb",
        description=f"Uploading {output.printable(path.name)}",
        console=console,
        disable=quiet,
        transient=True,
    ) as content:
        return client.upload(path.name, content, purpose)


def file_id(client: Client, file_or_id: str, purpose: str = "fine-tune") -> str:
    """Return the id of an uploaded file. Raises ConfigurationError.

    A local file is uploaded first, unless the same content is there under its name.
    """
    path = local_file(file_or_id)
    if path is None:
        return file_or_id
    if there := _uploaded_before(client, path, purpose):
        output.note(f"{path.name} is already there as {there}")
        return there
    file = send(client, path, purpose)
    output.note(f"Uploaded {path.name} as {file['id']}")
    return str(file["id"])


def _uploaded_before(client: Client, path: Path, purpose: str) -> str | None:
    """Return the id of a file with this name and content, among the newest ones, which does not expire.

    What may be trained on may also be looked at.
    """
    fitting = (purpose, "fine-tune")
    size = path.stat().st_size
    found = [
        file
        for file in client.every("/files", NEWEST)
        if (file["filename"], file["bytes"]) == (path.name, size)
        and file["purpose"] in fitting
        and file.get("expires_at") is None
    ]
    if not found:
        return None
    with path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    return next((str(file["id"]) for file in found if file.get("sha256") == sha256), None)


def local_file(file_or_id: str) -> Path | None:
    """Return the path of a local file, or None for the id of an uploaded one. Raises ConfigurationError."""
    path = Path(file_or_id)
    if path.is_file():
        return path
    if file_or_id.startswith("file-") and path.name == file_or_id:
        return None
    raise ConfigurationError(f"{file_or_id} is neither a local file nor the id of an uploaded file (file-…)")


def chosen_model(client: Client, model: str | None, settings: Sequence[Setting] = ()) -> str | None:
    """Return the model of a request. Call it before files are uploaded.

    `settings` may name another one. Raises ConfigurationError if no model is named, and Refused if it does
    not exist. Both name the base models on offer.
    """
    if any(names == ["model"] for names, _ in settings):
        return model
    if model is None:
        raise ConfigurationError(_choose(_on_offer(client)))
    try:
        client.get(f"/models/{quote(model)}")
    except Refused as error:
        if error.status != NOT_FOUND:
            raise
        message = f"There is no model {model}. On offer: {', '.join(_on_offer(client))}"
        raise Refused(error.status, message, error.code) from error
    return model


def only_model(client: Client) -> str:
    """Return the base model on offer. Raises ConfigurationError, which names them, if there are several."""
    names = _on_offer(client)
    if len(names) != 1:
        raise ConfigurationError(_choose(names))
    return names[0]


def create_with_files(client: Client, path: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send a request. If it is refused, delete the files that this command has uploaded for it."""
    try:
        return client.post(path, request)
    except Refused:
        delete_uploaded(client)
        raise


def delete_uploaded(client: Client) -> None:
    """Delete the files that this command has uploaded."""
    for sent in client.uploaded:
        with suppress(CommandError):
            client.delete(f"/files/{sent}")


def _on_offer(client: Client) -> list[str]:
    models = client.get("/models")["data"]
    return [model["id"] for model in models if model.get("quantizations") is not None]


def _choose(names: Sequence[str]) -> str:
    return f"Choose a model with --model. On offer: {', '.join(names)}"
