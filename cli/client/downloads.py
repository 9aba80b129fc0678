"""Downloads the files of a folder that the service keeps, such as an adapter."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cli.client import output
from cli.client.client import Client
from cli.client.errors import GaveUp

if TYPE_CHECKING:
    from rich.progress import Progress


def fetch_files(client: Client, path: str, files: list[dict[str, Any]], folder: Path) -> None:
    """Download the files below `path` into the folder, which is made, and check the SHA-256 of each."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    folder.mkdir(parents=True, exist_ok=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn()
    console = output.stderr()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        for file in files:
            _fetch_file(client, path, file, folder, progress)


def _fetch_file(client: Client, path: str, file: dict[str, Any], folder: Path, progress: "Progress") -> None:
    """Download one file. It gets its name only after its SHA-256 was found to be right."""
    name = file["name"]
    if Path(name).name != name:
        raise GaveUp(f"The server sent the file name {name!r}, which would lie outside of {folder}")
    digest = hashlib.sha256()
    part = folder / f"{name}.part"
    task = progress.add_task(output.printable(name), total=file["bytes"])
    try:
        with part.open("wb") as sink:
            for chunk in client.download(f"{path}/files/{quote(name)}"):
                digest.update(chunk)
                sink.write(chunk)
                progress.advance(task, len(chunk))
        if digest.hexdigest() != file["sha256"]:
            raise GaveUp(f"{name} was damaged on its way (its SHA-256 differs); download it again")
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)
