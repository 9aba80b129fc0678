"""The acceptance of a machine runs its checks in processes of their own. Its page says what they found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import ROOT
from bench.acceptance.__main__ import run, text_of
from bench.acceptance.checks import Check, memory, resume


@pytest.mark.exhaustive
def test_a_cpu_computes_and_a_step_takes_the_memory_of_its_plan(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.acceptance", "--only", "device,memory", "--out", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    page = (tmp_path / "page.md").read_text()
    assert ended.returncode == 0, page
    assert "## device: passed" in page
    assert "gflops" in page
    assert json.loads((tmp_path / "memory").read_text())["measured_bytes"] > 0


def test_a_check_that_dies_is_told_with_its_last_line_and_what_to_send(tmp_path: Path) -> None:
    check = Check("dies", lambda _: ["-c", "raise RuntimeError('no kernel image')"], memory)
    page = text_of([run(check, tmp_path)], "a card", tmp_path)
    assert "RuntimeError: no kernel image" in page
    assert "Please open an issue" in page
    assert str(tmp_path) in page
    assert "RuntimeError" in (tmp_path / "dies.log").read_text()


@pytest.mark.parametrize(("measured", "passes"), [(100, True), (120, False)])
def test_a_plan_that_is_far_from_the_measured_memory_is_out_of_bounds(
    measured: int, passes: bool, tmp_path: Path
) -> None:
    out = tmp_path / "memory"
    out.write_text(json.dumps({"planned_bytes": 100, "measured_bytes": measured}))
    assert memory(out).passes == passes


@pytest.mark.parametrize(
    ("killed", "passes"),
    [({"1": 2.0, "2": 1.5}, True), ({"1": 2.0, "2": 1.6}, False), ({"1": 2.0}, False)],
)
def test_a_killed_job_must_take_the_steps_of_an_undisturbed_one(
    killed: dict[str, float], passes: bool, tmp_path: Path
) -> None:
    out = tmp_path / "resume"
    undisturbed = {"1": 2.0, "2": 1.5}
    out.write_text(json.dumps({"killed_after_step": 1, "undisturbed": undisturbed, "killed": killed}))
    assert resume(out).passes == passes
