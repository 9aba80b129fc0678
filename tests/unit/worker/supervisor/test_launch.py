"""A trainer of several processes: how it is started, and that no process of it survives."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.settings import Settings
from tests.fixtures.service.api import wait_for
from worker.supervisor.launch import kill_trainer, start_trainer

# Like torchrun: each process leads a session of its own
TORCHRUN = """#!/bin/sh
echo "$@" > "{folder}/arguments"
setsid "{folder}/rank" "$@" &
setsid "{folder}/rank" "$@" &
cat
"""
RANK = """#!/bin/sh
sleep 600 && true
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a script in the place of the Python interpreter, and return its folder."""
    for name, source in (("python", TORCHRUN), ("rank", RANK)):
        (tmp_path / name).write_text(source.format(folder=tmp_path))
        (tmp_path / name).chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return tmp_path


@pytest.fixture
def channel() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield theirs


def family_of(owner: str) -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if owner in (process.info["cmdline"] or ())]


@pytest.mark.parametrize("torchrun_is_killed_first", [False, True])
def test_no_process_of_a_group_survives(
    program: Path, channel: socket.socket, torchrun_is_killed_first: bool
) -> None:
    owner = f"{program}:owner"
    torchrun = start_trainer(Settings(devices=2), owner, channel)
    family = wait_for(lambda: len(found := family_of(owner)) == 3 and found)
    if torchrun_is_killed_first:
        torchrun.kill()
        torchrun.wait()
    kill_trainer(torchrun, owner)
    _, alive = psutil.wait_procs(family, 10)
    assert not alive


def test_several_machines_meet_at_the_first_one_and_share_the_devices(
    program: Path, channel: socket.socket
) -> None:
    settings = Settings(devices=8, nodes=2, node_rank=1, rendezvous="first.internal:29500")
    torchrun = start_trainer(settings, "owner-of-eight", channel)
    arguments = wait_for(lambda: (file := program / "arguments").exists() and file.read_text())
    kill_trainer(torchrun, "owner-of-eight")
    for expected in ("--nproc-per-node 4", "--nnodes 2", "--node-rank 1", "--master-addr first.internal"):
        assert expected in arguments
    assert arguments.endswith("--master-port 29500 -m worker.trainer.train.trainer owner-of-eight\n")
