"""openai-python's own tests of chats and completions, against a running service.

They are in the package's source distribution, which is not ours to copy. The test runs them from a folder
that the variable SOURCE names.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.clients import openais_tests
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api
from tests.fixtures.service.serving import ServerProcess
from tests.fixtures.work.completions import allow

SOURCE = "OPENAI_PYTHON_SOURCE"
FILES = ("tests/api_resources/chat/test_completions.py", "tests/api_resources/test_completions.py")
MODELS = ("gpt-6-astra", "gpt-3.5-turbo-instruct")

pytestmark = pytest.mark.skipif(
    SOURCE not in os.environ,
    reason=f"set {SOURCE} to the folder of openai-python's source distribution (docs/testing.md)",
)

# These send all parameters at once: sounds, a search in the web, an answer of no tokens, a page of nothing
WITH_ALL = "_with_all_params"


def test_openais_own_tests_hold_except_those_that_ask_for_everything(
    chat_api: Api, server: ServerProcess, tmp_path: Path
) -> None:
    tenant = chat_api.tenant()
    allow(tenant)
    for name in MODELS:
        assert tenant.http.post("/v1/aliases", json={"name": name, "model": TINY}).status_code == 200
    source, report = Path(os.environ[SOURCE]), tmp_path / "report.json"
    shutil.copy(openais_tests.__file__, tmp_path)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, source / "site"))),
        openais_tests.URL: f"{chat_api.url}/v1",
        openais_tests.KEY: tenant.key,
        openais_tests.MODEL: TINY,
        openais_tests.REPORT: str(report),
    }
    options = ["-p", "openais_tests", "-p", "no:xdist", "-o", "addopts=", "-W", "ignore", "-q"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *FILES],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert report.exists(), ran.stdout + ran.stderr
    outcomes: dict[str, str | None] = json.loads(report.read_text())
    failed = {name: reason for name, reason in outcomes.items() if reason is not None}
    unexpected = {name: reason for name, reason in failed.items() if WITH_ALL not in name}
    assert not unexpected, ran.stdout
    assert len(outcomes) > 100
    for reason in failed.values():
        assert "BadRequestError" in str(reason), reason
