"""The unit of systemd starts the programs, and gives them the time that they need to stop."""

import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest
import typer

from api import stop_times as api_stop_times
from cli.main import app
from tests.fixtures.paths import REPOSITORY
from worker.process import stop_times

UNIT = REPOSITORY / "operate/systemd/tunery@.service"
PROGRAMS = {"api": api_stop_times.API, "worker": stop_times.WORKER, "serve": stop_times.SERVER}


@pytest.fixture
def unit() -> RawConfigParser:
    parser = RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def test_each_program_has_the_time_that_it_needs_to_stop(unit: RawConfigParser) -> None:
    service = unit["Service"]
    assert int(service["TimeoutStopSec"]) > max(PROGRAMS.values())
    assert service["KillMode"] == "mixed", "a worker itself tells its trainer to stop"


def test_the_programs_that_its_first_line_names_are_commands() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    first = UNIT.read_text().splitlines()[0]
    assert set(PROGRAMS) <= commands
    assert all(f"tunery@{name}" in first for name in PROGRAMS)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_it(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/tunery/.venv/bin/tunery", "/bin/true"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", copy],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
