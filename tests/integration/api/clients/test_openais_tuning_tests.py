"""openai-python's own tests of files, uploads, fine-tuning and models, against a running service.

Like `chat/test_openais_own_tests.py`, it needs the client's source distribution (docs/testing.md).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.roles import Role
from tests.fixtures.clients import openais_tests
from tests.fixtures.service.api import BASE_MODEL, Api

SOURCE = "OPENAI_PYTHON_SOURCE"
FOLDER = "tests/api_resources"
FILES = ("test_files.py", "test_uploads.py", "uploads", "test_models.py", "fine_tuning")
PLUGIN = "openais_tuning_tests.py"
TUNED_MODELS = 120

pytestmark = pytest.mark.skipif(
    SOURCE not in os.environ,
    reason=f"set {SOURCE} to the folder of openai-python's source distribution (docs/testing.md)",
)

# The settings of all methods in one job, an MD5 that is none, and the status `paused`, which the types lack
EXPECTED = (
    ("create_with_all_params", "'method.dpo' does not belong"),
    ("complete_with_all_params", "'md5'"),
    ("_pause[", "paused"),
    ("_pause[", "APIResponseValidationError"),
    ("test_jobs.py", "_list"),
)


def test_openais_own_tests_of_tuning_hold_except_those_that_ask_for_everything(
    api: Api, adapter_folder: Path, tmp_path: Path
) -> None:
    tenant, other = api.tenant(role=Role.ADMIN), api.tenant()
    tuned = []
    for _ in range(TUNED_MODELS):
        job_id = tenant.create_job()["id"]
        api.finish(api.claim(job_id), adapter_folder)
        tuned.append(tenant.job(job_id)["fine_tuned_model"])
    source, report = Path(os.environ[SOURCE]), tmp_path / "report.json"
    for plugin in ("openais_tests.py", PLUGIN):  # they import each other in openai-python's folder only
        shutil.copy(Path(openais_tests.__file__).with_name(plugin), tmp_path)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, source / "site"))),
        openais_tests.URL: f"{api.url}/v1",
        openais_tests.KEY: tenant.key,
        openais_tests.MODEL: BASE_MODEL,
        openais_tests.REPORT: str(report),
        "TEST_OTHER_PROJECT": other.project_id,
        "TEST_TUNED_MODELS": ",".join(tuned),
        "WANDB_MODE": "offline",
    }
    options = ["-p", "openais_tuning_tests", "-p", "no:xdist", "-o", "addopts=", "-W", "ignore", "-q"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(f"{FOLDER}/{name}" for name in FILES)],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert report.exists(), ran.stdout + ran.stderr
    outcomes: dict[str, str | None] = json.loads(report.read_text())
    failed = {name: reason for name, reason in outcomes.items() if reason is not None}
    unexpected = {
        name: reason
        for name, reason in failed.items()
        if reason != "skipped" and not any(part in name and why in name + reason for part, why in EXPECTED)
    }
    assert not unexpected, ran.stdout
    assert len(outcomes) > 200
