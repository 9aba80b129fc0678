"""Files without a name, which the system removes as soon as no process has them open."""

import os
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile


def nameless_file(folder: Path | None) -> FileIO:
    """Return a new file that has no name. It is gone once no process has it open.

    Without a folder, it lies in the system's folder for temporary files.
    """
    with TemporaryFile(dir=folder, buffering=0) as file:
        return FileIO(os.dup(file.fileno()), "rb+")
