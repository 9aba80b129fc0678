"""The parts of `tunery up` as child processes: how `up` restarts, gives up, stops and finds them."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import psutil
import pytest

from cli.child import is_alive
from cli.client.errors import GaveUp
from cli.client.home import Home
from cli.up.children import WatchedChild, child_of, stop_leftovers
from cli.up.command import child_environment
from cli.up.log_files import LogFiles
from cli.up.restarts import MAX_QUICK_DEATHS, Restarts
from core.settings import Settings
from tests.fixtures.service.api import wait_for


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a state folder. Processes that a failed test leaves running in it are killed."""
    folder = Home(tmp_path / "home")
    folder.create()
    yield folder
    child_of(folder, "worker").kill()


def python_child(home: Home, program: str, grace: float = 30, arguments: Sequence[str] = ()) -> WatchedChild:
    return WatchedChild("worker", [sys.executable, "-uc", program, *arguments], os.environ, home, grace)


STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)


def test_a_part_that_dies_again_and_again_ends_with_its_last_words(home: Home) -> None:
    log = home.logs / "worker.log"
    log.write_text("no room left\n")
    restarts = Restarts("worker", log)
    for _ in range(MAX_QUICK_DEATHS):
        restarts.started()
        restarts.plan("exit code 7")
    with pytest.raises(GaveUp, match=rf"exit code 7, {MAX_QUICK_DEATHS + 1} times.*(?s:.*)no room left"):
        restarts.plan("exit code 7")


def test_a_log_that_has_grown_too_large_is_put_aside_while_the_part_goes_on_printing(home: Home) -> None:
    (home.logs / "postgres.log").write_text("short")
    go_on = home.path / "go-on"
    child = python_child(
        home,
        "import pathlib, sys, time\nprint('a long line')\n"
        "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)\nprint('more')",
        arguments=[str(go_on)],
    )
    child.start()
    wait_for(lambda: child.log.read_text() == "a long line\n")
    LogFiles(home.logs, max_bytes=10).tend()
    assert (home.logs / "worker.log.1").read_text() == "a long line\n"
    go_on.touch()
    wait_for(lambda: child.log.read_text() == "more\n")
    child.stop()
    assert {path.name for path in home.logs.iterdir()} == {"worker.log", "worker.log.1", "postgres.log"}


def test_the_sizes_of_logs_are_looked_at_again_and_again_but_not_at_every_turn(home: Home) -> None:
    log, aside = home.logs / "worker.log", home.logs / "worker.log.1"
    logs = LogFiles(home.logs, max_bytes=10)
    logs.tend()
    log.write_text("a line that is too long")
    logs.tend()
    assert not aside.exists()

    logs = LogFiles(home.logs, max_bytes=10, look_seconds=0.05)

    def is_aside(line: str) -> bool:
        logs.tend()
        return aside.exists() and aside.read_text() == line

    for line in ("a first long line", "a second long line"):
        log.write_text(line)
        wait_for(partial(is_aside, line))
        assert log.read_text() == ""


def test_waits_longer_before_each_new_start(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    child = python_child(home, "raise SystemExit(1)")
    child.start()
    said = ""

    def died_twice() -> bool:
        nonlocal said
        child.tend()
        said += capfd.readouterr().err
        return said.count("The worker died") == 2

    wait_for(died_twice)
    assert re.findall(r"again in ([\d.]+) s", said) == ["0.5", "1"]


def test_a_wrong_setting_is_not_tried_again(home: Home) -> None:
    child = python_child(home, "print('TUNERY_PORT: wrong'); raise SystemExit(2)")
    child.start()
    with pytest.raises(GaveUp, match=r"died \(exit code 2\)(?s:.*)TUNERY_PORT: wrong"):
        wait_for(child.tend)


def test_a_folder_named_as_ours_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder in which `up` runs may contain folders named `api` or `cli` of another project."""
    (tmp_path / "cli.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    environment = child_environment(Settings(home=tmp_path))
    ended = subprocess.run([sys.executable, "-m", "cli.main", "--version"], env=environment)
    assert ended.returncode == 0


@pytest.mark.parametrize(("grace", "hurried"), [(0.2, False), (600, True)])
def test_a_part_that_does_not_stop_is_killed_with_its_descendants(
    home: Home, grace: float, hurried: bool
) -> None:
    """It is killed after its grace, or at once after a second Ctrl-C, with descendants in other sessions."""
    program = (
        "import subprocess, sys; "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
    )
    child = python_child(home, program + STUBBORN, grace)
    child.start()
    wait_for(lambda: "deaf" in child.log.read_text())
    assert len(child_of(home, "worker").family()) == 2
    child.stop(lambda: hurried)
    assert child_of(home, "worker").family() == []
    assert not (home.run / "worker.json").exists()


def test_a_part_has_ended_only_when_its_last_thread_has(home: Home, closed_port: int) -> None:
    """Its first thread may end long before the thread that closes its ports, which the next start needs."""
    program = (
        "import ctypes, socket, sys, threading\n"
        "listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    child = python_child(home, program, arguments=[str(closed_port)])
    child.start()
    leader = child_of(home, "worker").leader()
    assert leader is not None
    wait_for(lambda: leader.status() == psutil.STATUS_ZOMBIE)
    child.stop()
    socket.create_server(("127.0.0.1", closed_port)).close()


SAVES_ITS_PLACE = """
import subprocess, sys, time
trainer = "import sys, time; sys.stdin.read(); time.sleep(1); open(sys.argv[1], 'w').close()"
trainer = [sys.executable, "-c", trainer, sys.argv[1]]
subprocess.Popen(trainer, stdin=subprocess.PIPE, start_new_session=True)
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("found_by", ["the same up", "the same up as it stops", "the next up"])
def test_what_a_killed_part_leaves_may_save_its_place(home: Home, tmp_path: Path, found_by: str) -> None:
    saved = tmp_path / "saved"
    child = python_child(home, SAVES_ITS_PLACE, arguments=[str(saved)])
    child.start()
    wait_for(lambda: "up" in child.log.read_text())
    leader = child_of(home, "worker").leader()
    assert leader is not None
    leader.kill()
    if found_by == "the same up":
        wait_for(lambda: child.tend() or child.log.read_text().count("up") == 2)
    elif found_by == "the same up as it stops":
        child.stop()
    else:
        stop_leftovers(home, [("worker", 30)])
    assert saved.exists()
    child.stop()
    assert child_of(home, "worker").family() == []


def test_what_a_killed_part_leaves_for_too_long_is_killed(home: Home) -> None:
    program = f"import subprocess, sys; subprocess.Popen([sys.executable, '-uc', {STUBBORN!r}]); "
    child = python_child(home, program + STUBBORN, grace=0.2)
    child.start()
    wait_for(lambda: child.log.read_text().count("deaf") == 2)
    leader, orphan = child_of(home, "worker").family()
    leader.kill()
    wait_for(lambda: child.tend() or not is_alive(orphan))
    wait_for(lambda: child.tend() or child.log.read_text().count("deaf") == 4)
    child.stop()


def test_leftovers_are_told_from_strangers_by_their_start_time(home: Home) -> None:
    """A process must not be killed if it has got the pid of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        try:
            record = {"pid": stranger.pid, "started": "another boot:1"}
            (home.run / "worker.json").write_text(json.dumps(record))
            stop_leftovers(home, [("worker", 5)])
            assert stranger.poll() is None
            assert not (home.run / "worker.json").exists()
        finally:
            stranger.kill()
