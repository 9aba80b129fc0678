"""Kernels in C are built once in each process."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.fixtures.processes.locks import NotingLock
from worker.engine.native import build


def test_threads_that_need_a_kernel_at_once_build_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, really_run, commands, second_has_come = tmp_path / "one.c", subprocess.run, [], Event()
    source.write_text("int one(void) { return 1; }")

    def run(command: list[str], **options: Any) -> Any:
        commands.append(command)
        if len(commands) == 1:
            assert second_has_come.wait(120)
        else:
            second_has_come.set()
        return really_run(command, **options)

    monkeypatch.setattr(build, "_building", NotingLock(second_has_come))
    monkeypatch.setattr(subprocess, "run", run)
    with ThreadPoolExecutor(2) as lanes:
        first, second = lanes.map(lambda _lane: build.library(source, bf16=False), range(2))
    assert len(commands) == 1
    assert first is not None
    assert first is second
    assert first.one() == 1
