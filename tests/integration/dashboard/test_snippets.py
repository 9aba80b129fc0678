"""What the dashboard gives to copy makes the job that it says, run as a user would run it.

dashboard/tests/snippets.test.ts holds the code in these files to what the dashboard writes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.paths import REPOSITORY
from tests.fixtures.service.api import Api, Tenant

SNIPPETS = REPOSITORY / "dashboard/tests/snippets"
ORIGIN = "http://127.0.0.1:8000"
COMMANDS = {
    "python": [sys.executable, "-"],
    "curl": ["bash", "-s"],
    "cli": ["bash", "-s"],
}
SHELL_FUNCTION = f'tunery() {{ {sys.executable} -m cli.main "$@" --json; }}\n'
USER = {"role": "user", "content": "hi"}
TOOLS = [{"type": "function", "function": {"name": "get_time"}}]


@pytest.fixture(scope="module")
def files(alice: Tenant) -> dict[str, str]:
    pair = {
        "input": {"messages": [USER]},
        "preferred_output": [{"role": "assistant", "content": "good"}],
        "non_preferred_output": [{"role": "assistant", "content": "bad"}],
    }
    return {
        "file-training": alice.upload(),
        "file-validation": alice.upload(),
        "file-prompts": alice.upload(lines_of({"messages": [USER], "answer": "hi", "tools": TOOLS})),
        "file-preferences": alice.upload(lines_of(pair)),
    }


def lines_of(row: dict[str, Any]) -> bytes:
    return (json.dumps(row).encode() + b"\n") * 12


@pytest.mark.family(5)
@pytest.mark.parametrize("request_name", ["full", "preferences", "rewards", "automatic", "sweep", "least"])
@pytest.mark.parametrize("form", ["python", "curl", "cli"])
def test_a_copied_snippet_creates_the_job(
    api: Api, alice: Tenant, files: dict[str, str], tmp_path: Path, form: str, request_name: str
) -> None:
    asked = json.loads(_snippet(api, files, request_name, "json"))
    expected = _create(alice, asked)
    printed = _run(alice, tmp_path, form, _snippet(api, files, request_name, form))
    job = alice.job(printed if form == "python" else _job_id(json.loads(printed)))
    assert _settings(job, asked) == _settings(expected, asked)
    if "parameters" in asked:
        assert _parameters(alice, job) == asked["parameters"]


def _create(tenant: Tenant, asked: dict[str, Any]) -> dict[str, Any]:
    """The job, of a sweep too."""
    if "parameters" not in asked:
        return tenant.create_job(**asked)
    answer = tenant.http.post("/v1/fine_tuning/sweeps", json=asked)
    assert answer.status_code == 200, answer.text
    return tenant.job(_job_id(answer.json()))


def _job_id(answer: dict[str, Any]) -> str:
    """Of a job, or of a sweep."""
    return str(answer.get("job_id") or answer["id"])


def _parameters(tenant: Tenant, job: dict[str, Any]) -> dict[str, Any]:
    sweep_id = job["id"].replace("ftjob-", "ftsweep-")
    tried: dict[str, Any] = tenant.http.get(f"/v1/fine_tuning/sweeps/{sweep_id}").json()["parameters"]
    return tried


def _snippet(api: Api, files: dict[str, str], name: str, form: str) -> str:
    text = (SNIPPETS / f"{name}.{form}.txt").read_text().replace(ORIGIN, api.url)
    for written, uploaded in files.items():
        text = text.replace(written, uploaded)
    return text


def _run(tenant: Tenant, folder: Path, form: str, code: str) -> str:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TUNERY_")}
    ended = subprocess.run(
        COMMANDS[form],
        input=(SHELL_FUNCTION if form == "cli" else "") + code,
        cwd=folder,
        env=variables | {"TUNERY_API_KEY": tenant.key},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def _settings(job: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """What a request decides; the seed is drawn where it names none."""
    names = ["model", "training_file", "validation_file", "user_provided_suffix", "metadata", "method"]
    names += ["adapter", "training", "integrations", "evaluate"]
    return {name: job[name] for name in [*names, *(["seed"] if "seed" in asked else [])]}
