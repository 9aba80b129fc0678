"""Folders that several processes want at once: one process builds, and a finished folder stays."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fixtures.paths import REPOSITORY
from tests.fixtures.service.api import wait_for
from worker.base_models.build_once import build_once

BUILDER = """
import sys, time
from pathlib import Path
from worker.base_models.build_once import build_once

def build(folder):
    with Path(sys.argv[2]).open("a") as log:
        log.write("building\\n")
    (folder / "half").touch()
    time.sleep(float(sys.argv[3]))
    (folder / "finished").write_text("by a process")

build_once(Path(sys.argv[1]), build, lambda folder: (folder / "finished").exists())
"""


def is_finished(folder: Path) -> bool:
    return (folder / "finished").exists()


def never(folder: Path) -> None:
    raise AssertionError("it is there already")


def start_builder(folder: Path, log: Path, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(folder), str(log), str(seconds)], cwd=REPOSITORY
    )


def test_one_process_builds_and_the_others_find_its_work(tmp_path: Path) -> None:
    folder, log = tmp_path / "model" / "main", tmp_path / "log"
    processes = [start_builder(folder, log, 1) for _ in range(3)]
    assert [process.wait(240) for process in processes] == [0, 0, 0]
    assert log.read_text() == "building\n"
    assert sorted(path.name for path in folder.parent.iterdir()) == [".lock", "main"]


def test_of_threads_too_only_one_builds(tmp_path: Path) -> None:
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        time.sleep(0.1)
        (folder / "finished").touch()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: build_once(tmp_path / "main", build, is_finished), range(4)))
    assert len(built) == 1


def test_a_killed_builder_holds_nobody_up_and_leaves_nothing(tmp_path: Path) -> None:
    folder, log = tmp_path / "main", tmp_path / "log"
    process = start_builder(folder, log, 600)
    wait_for(log.exists, 240)
    process.kill()
    process.wait(60)
    build_once(folder, lambda building: (building / "finished").touch(), is_finished)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "log", "main"]


def test_a_finished_folder_is_neither_built_again_nor_touched(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "finished").touch()
    build_once(tmp_path / "main", never, is_finished)


def test_the_slower_of_two_machines_keeps_the_folder_of_the_faster(tmp_path: Path) -> None:
    """Some file systems' locks end at the machine, so another machine finishes while this one builds."""
    folder = tmp_path / "main"

    def build(building: Path) -> None:
        (building / "finished").write_text("slower")
        folder.mkdir()
        (folder / "finished").write_text("faster")

    build_once(folder, build, is_finished)
    assert (folder / "finished").read_text() == "faster"
    assert not list(tmp_path.glob(".building-*"))


def test_what_is_not_finished_is_not_taken_for_a_model_nor_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "main"
    folder.mkdir()
    (folder / "somebody's").touch()
    with pytest.raises(FileExistsError, match="remove it"):
        build_once(folder, lambda building: (building / "finished").touch(), is_finished)
    assert (folder / "somebody's").exists()


def test_a_failed_build_lets_the_next_one_try(tmp_path: Path) -> None:
    def fail(building: Path) -> None:
        (building / "half").touch()
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError):
        build_once(tmp_path / "main", fail, is_finished)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    build_once(tmp_path / "main", lambda building: (building / "finished").touch(), is_finished)
    assert is_finished(tmp_path / "main")
