"""Temporary folders of living processes stay, and those of killed ones are removed."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.process.scratch import remove_abandoned, scratch_folder


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, temporary_files_in: Callable[[Path], None]) -> None:
    temporary_files_in(tmp_path)


def die_with_a_folder() -> None:
    """Make a folder in another process, which is killed then."""
    if (pid := os.fork()) == 0:
        with scratch_folder("job") as folder:
            (folder / "state").write_bytes(b"left")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


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
