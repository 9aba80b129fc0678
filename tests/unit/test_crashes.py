"""What a test run does when a process of tests dies."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.fixtures.paths import REPOSITORY

CRASHING = """
import os, signal

def test_before(): pass
def test_crash(): os.kill(os.getpid(), signal.SIGSEGV)
def test_after(): pass
"""

PEACEFUL = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_peace(number): pass
"""

SECONDS = 240  # a busy machine needs many for the starts of pytest


def test_a_run_goes_on_to_its_end_and_names_the_test_that_killed_its_process(tmp_path: Path) -> None:
    """Run files of tests as `make test` does. More files than processes, so that some wait for a process."""
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "test_crashing.py").write_text(CRASHING)
    for name in "bcde":
        (tmp_path / f"test_{name}.py").write_text(PEACEFUL)
    options = re.search("^IN_PROCESSES := (.*)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert options
    plugins = ["-p", "xdist", "-p", "pytest_rerunfailures", "-p", "tests.fixtures.processes.scheduling"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options[1].split(), str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 failed, 14 passed" in run.stdout
    assert "crashed while running 'test_crashing.py::test_crash'" in run.stdout
    assert "in test_crash" in run.stderr  # where in the code it died
