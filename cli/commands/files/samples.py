"""`tunery files sample`: write the sample dataset, to try the other commands with it."""

from pathlib import Path
from typing import Annotated

import typer

from cli.client import output
from core.errors import ConfigurationError


def write_sample_files(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where to write the two files", file_okay=False)
    ] = Path(),
    json: output.Json = False,
) -> None:
    """Write the sample dataset: train.jsonl and held-out.jsonl, letters to a shop and the records of them.

    A file that is there with the same content stays as it is. Another one is never replaced.
    """
    from cli.commands.files.sample import sample_files

    contents = {folder / name: content for name, content in sample_files().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = [path for path in contents if not path.exists()]
        other = [path for path in contents if path not in missing and path.read_bytes() != contents[path]]
        if other:
            raise ConfigurationError(f"{other[0]} is there, and is not the sample: name another folder")
        for path in missing:
            path.write_bytes(contents[path])
    except OSError as error:
        where = error.filename or folder
        raise ConfigurationError(f"{where} cannot be read or written: {error.strerror}") from error
    output.json({"files": [str(path) for path in contents]}) if json else output.note(
        f"Wrote {' and '.join(map(str, contents))}"
    )
