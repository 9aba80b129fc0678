"""The dashboard's own tests of its logic, which vitest runs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "dashboard"))

import npm  # noqa: E402


def test_what_the_dashboard_computes_is_right() -> None:
    if npm.npm() is None:
        pytest.skip("no Node here: `make setup` installs it as a wheel")
    script = [sys.executable, str(ROOT / "dashboard/npm.py"), "--prefix", str(ROOT / "dashboard")]
    if not (ROOT / "dashboard/node_modules").exists():
        subprocess.run([*script, "ci", "--no-progress"], check=True, cwd=ROOT)
    run = subprocess.run([*script, "test"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
