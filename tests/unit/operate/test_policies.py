"""checkov, which checks policies, finds nothing in the chart but what is excused here with a reason.

It needs an environment of its own: `python -m bench.peers.venvs --only checkov` makes it, or the variable
CHECKOV_VENV names it.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.peers.venvs import DEFAULT_VENVS, interpreter
from tests.fixtures.outside.chart import render
from tests.fixtures.outside.chart_values import EVERYTHING

pytestmark = pytest.mark.exhaustive

EXCUSED = {
    "CKV_K8S_35": ("", "the service reads addresses and keys from its environment"),
    "CKV_K8S_11": ("", "training and chats take the processors that are free"),
    "CKV_K8S_8": ("tunery-worker-", "a worker has no probe: its supervisor restarts a trainer that hangs"),
    "CKV_K8S_9": ("tunery-worker-", "nobody sends requests to a worker by a Service"),
}


def checkov(objects: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return what checkov says of these objects. Skips the test if checkov is not installed."""
    named = os.environ.get("CHECKOV_VENV")
    python = Path(named) / "bin/python" if named else interpreter(DEFAULT_VENVS, "checkov")
    if not python.exists():
        where = python.parents[1]
        pytest.skip(f"checkov is not installed in {where}: `python -m bench.peers.venvs --only checkov`")
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    options = ["--framework", "kubernetes", "--quiet", "--compact", "--skip-download", "--output", "json"]
    command = [str(python), "-m", "checkov.main", "--file", str(file), *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=500)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_every_policy_holds_or_is_excused(tmp_path: Path) -> None:
    objects = render(**EVERYTHING).objects
    found = checkov(objects, tmp_path)
    assert found["summary"]["resource_count"] >= len(objects)
    assert found["summary"]["passed"] > 500
    failed = {(each["check_id"], each["resource"]) for each in found["results"]["failed_checks"]}
    unexcused = {(check, of) for check, of in failed if check not in EXCUSED or EXCUSED[check][0] not in of}
    assert not unexcused
    assert {check for check, _ in failed} == set(EXCUSED), "an excuse that nobody needs any more"
