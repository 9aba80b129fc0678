"""Builds a folder once, on a disk that several processes share; afterwards it is only read."""

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_IMODE

BUILDING = ".building-"  # begins the names of folders that are not finished


def build_once(
    folder: Path, build: Callable[[Path], None], is_finished: Callable[[Path], bool], waits: bool = True
) -> None:
    """Call `build` to fill an empty folder beside `folder`, and rename the new folder to `folder`.

    A finished `folder` is left alone: somebody may be reading it. Among the siblings of `folder`, only one
    process builds at a time. The others wait, and use its result; one that does not wait gets
    BlockingIOError. Whoever may read the parent may read the new folder. Raises FileExistsError if something
    unfinished is already in the place of `folder`.
    """
    if is_finished(folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / ".lock", waits):
        if is_finished(folder):
            return
        for abandoned in folder.parent.glob(f"{BUILDING}*"):  # left by killed processes: we hold the lock
            shutil.rmtree(abandoned, ignore_errors=True)
        building = Path(tempfile.mkdtemp(prefix=BUILDING, dir=folder.parent))
        try:
            build(building)
            building.chmod(S_IMODE(folder.parent.stat().st_mode))  # mkdtemp lets only this user in
            _move(building, folder, is_finished)
        finally:
            shutil.rmtree(building, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove a finished folder. A process that is killed here leaves none that seems to be in its place."""
    discarded = Path(tempfile.mkdtemp(prefix=BUILDING, dir=folder.parent))
    try:
        folder.rename(discarded)
    finally:
        shutil.rmtree(discarded, ignore_errors=True)


def _move(building: Path, folder: Path, is_finished: Callable[[Path], bool]) -> None:
    """Rename the folder, unless another machine has finished one: not every file system shares its locks."""
    try:
        building.rename(folder)
    except OSError as error:
        if is_finished(folder):
            return
        if folder.exists():
            raise FileExistsError(f"{folder} is in the way and not finished; remove it") from error
        raise


@contextmanager
def _locked(path: Path, waits: bool) -> Iterator[None]:
    """Hold the lock on a file. The kernel releases it when the process dies; the file itself stays."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
