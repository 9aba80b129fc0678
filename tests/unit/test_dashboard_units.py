"""The dashboard's own tests of its logic, which vitest runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.document import openapi_document
from api.methods.service import list_all

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "dashboard"))

import npm  # noqa: E402


def test_what_the_dashboard_computes_is_right(tmp_path: Path) -> None:
    """Its forms are held against what this API offers."""
    if npm.npm() is None:
        pytest.skip("no Node here: `make setup` installs it as a wheel")
    script = [sys.executable, str(ROOT / "dashboard/npm.py"), "--prefix", str(ROOT / "dashboard")]
    if not (ROOT / "dashboard/node_modules").exists():
        subprocess.run([*script, "ci", "--no-progress"], check=True, cwd=ROOT)
    offered = tmp_path / "offered.json"
    methods = [method.model_dump(mode="json", by_alias=True) for method in list_all()]
    offered.write_text(json.dumps({"document": openapi_document(), "methods": methods}))
    environment = {**os.environ, "TUNERY_OFFERED": str(offered)}
    run = subprocess.run([*script, "test"], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
