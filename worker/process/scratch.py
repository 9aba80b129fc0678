"""The folder for the temporary files of one trainer, which its supervisor removes when the trainer has died.

A process that is killed removes nothing itself. The folder's name ends with the random part of the owner's
name, which is on the command lines of the trainer's processes.
"""

import shutil
import tempfile
from pathlib import Path

import psutil

PREFIX = "tunery-trainer-"


def scratch_of(owner: str) -> Path:
    """Return the folder of the trainer. Call this in its supervisor."""
    return Path(tempfile.gettempdir()) / f"{PREFIX}{_random_part(owner)}"


def use_scratch(folder: str) -> None:
    """Make the folder, and put all further temporary files of this process into it.

    The trainer calls this itself. So a folder that exists has had a process, and a supervisor that finds no
    such process may remove the folder.
    """
    Path(folder).mkdir(mode=0o700, exist_ok=True)
    tempfile.tempdir = folder


def remove_scratch(owner: str) -> None:
    """Remove the folder of a trainer that has ended."""
    shutil.rmtree(scratch_of(owner), ignore_errors=True)


def remove_scratch_of_the_dead() -> None:
    """Remove the folders of trainers that have ended and whose supervisor was killed too."""
    folders = list(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))  # before the processes: see `use_scratch`
    if not folders:
        return
    lines = (process.info["cmdline"] or () for process in psutil.process_iter(["cmdline"]))
    living = {_random_part(word) for line in lines for word in line}
    for folder in folders:
        if folder.name.removeprefix(PREFIX) not in living:
            shutil.rmtree(folder, ignore_errors=True)


def _random_part(owner: str) -> str:
    return owner.rpartition(":")[2]
