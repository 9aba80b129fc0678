"""Temporary folders of living processes stay, and those of killed ones are removed."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.process.scratch import Kind, remove_abandoned, scratch_folder


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, temporary_files_in: Callable[[Path], None]) -> None:
    temporary_files_in(tmp_path)


def die_with_a_folder(kind: Kind = "job") -> Path:
    """Make a folder in another process, which is killed then. Return the folder."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        with scratch_folder(kind) as folder:
            (folder / "state").write_bytes(b"left")
            os.write(writing, os.fsencode(folder))
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return Path(os.fsdecode(pipe.read()))


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    die_with_a_folder()
    with scratch_folder("job") as mine:
        assert len(list(tmp_path.iterdir())) == 2
        remove_abandoned(young=0)
        assert list(tmp_path.iterdir()) == [mine]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_just_have_been_made_and_folders_of_others_stay(tmp_path: Path) -> None:
    die_with_a_folder()
    (tmp_path / "tunery-of-somebody-else").mkdir()
    remove_abandoned()
    assert len(list(tmp_path.iterdir())) == 2
    remove_abandoned(young=0)
    assert [path.name for path in tmp_path.iterdir()] == ["tunery-of-somebody-else"]


def test_a_folder_that_lies_in_memory_is_removed_too(tmp_path: Path) -> None:
    folder = die_with_a_folder("metrics")
    assert tmp_path not in folder.parents
    assert folder.exists()
    remove_abandoned(young=0)
    assert not folder.exists()
