"""The dashboard's own tests of what it computes and shows, which vitest runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.document import openapi_document
from api.methods.service import list_all
from tests.fixtures.paths import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "dashboard"))

import npm


@pytest.mark.timeout(1800)  # pages in jsdom, one after the other: on a busy machine that takes long
def test_what_the_dashboard_computes_and_shows_is_right(tmp_path: Path) -> None:
    """Its forms are held against what this API offers."""
    if npm.npm(npm.oldest(REPOSITORY / "dashboard")) is None:
        pytest.skip("no Node here: `make setup` installs it as a wheel")
    script = [sys.executable, str(REPOSITORY / "dashboard/npm.py"), "--prefix", str(REPOSITORY / "dashboard")]
    if not (REPOSITORY / "dashboard/node_modules").exists():
        subprocess.run([*script, "ci", "--no-progress"], check=True, cwd=REPOSITORY)
    offered = tmp_path / "offered.json"
    methods = [method.model_dump(mode="json", by_alias=True) for method in list_all()]
    offered.write_text(json.dumps({"document": openapi_document(), "methods": methods}))
    environment = {**os.environ, "TUNERY_OFFERED": str(offered)}
    run = subprocess.run([*script, "test"], capture_output=True, text=True, cwd=REPOSITORY, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
