"""Exports with the operator's signature, which the command line of model-signing checks."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.processes.tasks import WarmTasks
from tests.fixtures.service.api import Api, Tenant
from tests.fixtures.service.shell import Shell
from tests.fixtures.work.exporting import ended, started
from worker.tasks.export.signing_key import public_key_sha256


def test_the_command_line_of_model_signing_accepts_an_export_until_a_byte_changes(
    tenant: Tenant,
    tasks: WarmTasks,
    adapter: str,
    key_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TUNERY_SIGNING_KEY_FILE", str(key_file))
    made = ended(tenant, adapter, started(tenant, adapter))
    assert made["status"] == "succeeded", made["error"]
    assert made["report"]["signature"] == {
        "file": "model.sig",
        "public_key_sha256": public_key_sha256(key_file),
    }
    public_key = tmp_path / "signing-key.pub"
    assert (
        made["report"]["signature"]["public_key_sha256"]
        == hashlib.sha256(public_key.read_bytes()).hexdigest()
    )
    folder = tmp_path / "export"
    folder.mkdir()
    for file in made["files"]:
        at = f"/v1/adapters/{adapter}/exports/{made['id']}/files/{file['name']}"
        (folder / file["name"]).write_bytes(tenant.http.get(at).content)
    command = "model_signing verify key . --signature model.sig --public_key"
    assert command in (folder / "README.md").read_text()

    def checked() -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", *command.split(), str(public_key)]
        return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)

    assert (found := checked()).returncode == 0, found.stderr
    weights = bytearray((folder / "adapter_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "adapter_model.safetensors").write_bytes(weights)
    assert (found := checked()).returncode != 0
    assert "adapter_model.safetensors" in found.stdout + found.stderr


def test_a_worker_with_a_wrong_key_does_not_start(api: Api, tmp_path: Path) -> None:
    settings = api.settings
    names = ("database_url", "broker_url", "s3_endpoint_url", "s3_bucket")
    variables = {f"TUNERY_{name.upper()}": str(getattr(settings, name)) for name in names}
    shell = Shell(tmp_path, variables | {"TUNERY_SIGNING_KEY_FILE": "missing.pem"})
    refused = shell.run("worker")
    assert refused.returncode != 0
    assert "TUNERY_SIGNING_KEY_FILE names missing.pem, which cannot be read" in refused.stderr
    assert "Traceback" not in refused.stderr
