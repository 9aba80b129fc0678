"""A folder that is built once and then only read, on a disk that several processes share."""

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

BUILDING = ".building-"


def build_once(folder: Path, build: Callable[[Path], None], is_finished: Callable[[Path], bool]) -> None:
    """Have `build` fill an empty folder beside the final place, and rename it there.

    Nothing does where `folder` is finished already. One process builds at a time among the siblings of
    `folder`, the others wait and find its work. A finished folder is never touched again: somebody may be
    reading it. Raises FileExistsError where something unfinished stands in its place.
    """
    if is_finished(folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / ".lock"):
        if is_finished(folder):
            return
        for left in folder.parent.glob(f"{BUILDING}*"):  # of killed processes: the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        building = Path(tempfile.mkdtemp(prefix=BUILDING, dir=folder.parent))
        try:
            build(building)
            _move(building, folder, is_finished)
        finally:
            shutil.rmtree(building, ignore_errors=True)


def _move(building: Path, folder: Path, is_finished: Callable[[Path], bool]) -> None:
    """Rename, but keep what another machine has finished: not every file system shares its locks."""
    try:
        building.rename(folder)
    except OSError as error:
        if is_finished(folder):
            return
        if folder.exists():
            raise FileExistsError(f"{folder} is in the way and not finished; remove it") from error
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file; the kernel lets go of it when the process dies. The file itself stays."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
