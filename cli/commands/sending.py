"""Uploads local files, for the commands that name one."""

from pathlib import Path
from typing import Any

from cli.client import output
from cli.client.client import Client
from core.errors import ConfigurationError


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
    """Return the id of an uploaded file. A local file is uploaded first. Raises ConfigurationError."""
    path = Path(file_or_id)
    if path.is_file():
        file = send(client, path, purpose)
        output.note(f"Uploaded {path.name} as {file['id']}")
        return str(file["id"])
    if file_or_id.startswith("file-") and path.name == file_or_id:
        return file_or_id
    raise ConfigurationError(f"{file_or_id} is neither a local file nor the id of an uploaded file (file-…)")
