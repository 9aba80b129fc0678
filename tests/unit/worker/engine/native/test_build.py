"""Parts in C are built once in each process."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from worker.engine.native.build import library


def test_threads_that_need_a_part_at_once_build_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, really_run, commands, together = tmp_path / "one.c", subprocess.run, [], Barrier(2)
    source.write_text("int one(void) { return 1; }")

    def run(command: list[str], **options: Any) -> Any:
        commands.append(command)
        time.sleep(0.2)
        return really_run(command, **options)

    def build(_lane: int) -> Any:
        together.wait()
        return library(source, bf16=False)

    monkeypatch.setattr(subprocess, "run", run)
    with ThreadPoolExecutor(2) as lanes:
        first, second = lanes.map(build, range(2))
    assert len(commands) == 1
    assert first is second
    assert first.one() == 1
