"""Exports through the API: real processes make them, on a tiny base model."""

import hashlib
import io
import json
import re
import signal
import zipfile
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel, PrefixTuningConfig
from sqlalchemy import update
from transformers import AutoModelForCausalLM

from core.artifacts import stored_bytes
from core.catalog import load_catalog
from core.database import from_now
from core.tables import Adapter, Task
from core.work.kinds import EXPORT
from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.tasks import WarmTasks, task_process
from tests.fixtures.service.api import Api, Tenant, refusal, wait_for
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.service.shell import Shell
from tests.fixtures.work.exporting import SECONDS, ended, published, started

PREFIX = PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")


def objects(api: Api, export_id: str) -> list[str]:
    return api.store.list(f"exports/{export_id}/")


def fence_of(api: Api, export_id: str) -> int:
    with api.sessions() as session:
        return session.get_one(Task, export_id).fence


def test_an_export_is_made_shown_and_downloaded(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str, catalog: Path, tmp_path: Path
) -> None:
    export_id = started(tenant, adapter, precision="bf16")
    done = ended(tenant, adapter, export_id)
    assert (done["status"], done["error"], done["progress"]["percent"]) == ("succeeded", None, 100)
    assert done["report"] == {"rank": 4, "layers": 6, "relative_error": 0.0}
    assert done["started_at"] <= done["finished_at"] < done["expires_at"]

    at = f"/v1/adapters/{adapter}/exports/{export_id}"
    archive = zipfile.ZipFile(io.BytesIO(tenant.http.get(f"{at}/content").content))
    assert archive.testzip() is None
    assert set(archive.namelist()) == {file["name"] for file in done["files"]}
    for file in done["files"]:
        content = tenant.http.get(f"{at}/files/{file['name']}").content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
        assert archive.read(file["name"]) == content
    manifest = json.loads(archive.read("manifest.json"))
    assert manifest["adapter_id"] == adapter
    assert manifest["export"] == {"format": "lora", "rank": None, "precision": "bf16"}
    assert done["request"] == manifest["export"] | {"destination": None}
    archive.extractall(tmp_path / "export")
    entry = load_catalog(catalog).get(TINY)
    assert entry is not None
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(entry.path), tmp_path / "export")
    (listed,) = tenant.http.get(f"/v1/adapters/{adapter}/exports").json()["data"]
    assert listed == done


def test_an_export_that_does_not_fit_into_the_quota_fails_and_leaves_nothing(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str
) -> None:
    with api.sessions() as session:
        tenant.allow(stored_bytes=stored_bytes(session, tenant.project_id) + 1000)
    made = ended(tenant, adapter, export_id := started(tenant, adapter))
    assert (made["status"], made["error"]["code"], made["files"]) == ("failed", "insufficient_quota", [])
    assert "and the result of " in made["error"]["message"]
    assert objects(api, export_id) == []


def test_the_command_line_exports_and_says_why_it_cannot(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str, catalog: Path, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, {"TUNERY_BASE_URL": api.url, "TUNERY_API_KEY": tenant.key})
    made = shell.json("adapters", "export", adapter, "out", "--format", "mlx", "--rank", "2")
    assert (made["report"]["rank"], made["folder"]) == (2, "out")
    for file in made["files"]:
        content = (tmp_path / "out" / file["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    prefix = published(api, tenant, catalog, tmp_path / "prefix", PREFIX)
    failed = shell.run("adapters", "export", prefix, "out", "--format", "merged")
    assert failed.returncode == 4, failed.stderr
    assert "cannot be merged" in failed.stderr
    wrong = shell.run("adapters", "export", adapter, "out", "--format", "gguf", "--rank", "2")
    assert "Unknown parameter: 'rank'" in wrong.stderr


def test_an_adapter_of_other_base_weights_is_not_exported(
    api: Api, tenant: Tenant, tasks: WarmTasks, catalog: Path, tmp_path: Path
) -> None:
    adapter = published(api, tenant, catalog, tmp_path / "old", base_sha256="0" * 64)
    failed = ended(tenant, adapter, started(tenant, adapter))
    assert (failed["status"], failed["error"]["code"]) == ("failed", "base_model_changed")


def test_an_imported_adapter_is_exported_too(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str
) -> None:
    with api.sessions.begin() as session:
        row = session.get_one(Adapter, adapter)
        row.job_id, row.model, row.base_model = None, "ft:tiny:project:imported:1", TINY
        row.options, row.origin = {"type": "lora"}, {"type": "import", "bytes": 1}
    done = ended(tenant, adapter, started(tenant, adapter))
    assert (done["status"], done["error"]) == ("succeeded", None)


def test_an_export_that_cannot_be_made_fails_with_the_reason(
    api: Api, tenant: Tenant, tasks: WarmTasks, catalog: Path, tmp_path: Path
) -> None:
    adapter = published(api, tenant, catalog, tmp_path / "prefix", PREFIX)
    failed = ended(tenant, adapter, started(tenant, adapter, format="merged"))
    assert (failed["status"], failed["error"]["code"], failed["files"]) == ("failed", "not_mergeable", [])
    assert "prefix_tuning" in failed["error"]["message"]
    assert objects(api, failed["id"]) == []


@pytest.mark.parametrize(
    "body", [{}, {"format": "zip"}, {"format": "gguf", "rank": 4}, {"format": "lora", "rank": 0}]
)
def test_an_unknown_format_or_option_is_refused(tenant: Tenant, adapter: str, body: dict[str, Any]) -> None:
    answer = tenant.http.post(f"/v1/adapters/{adapter}/exports", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in ("format", "rank")


def test_a_worker_that_stops_gives_its_export_back(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str
) -> None:
    export_id = started(tenant, adapter)
    task_process()
    tasks.stop()
    with api.sessions() as session:
        task = session.get_one(Task, export_id)
    assert task.losses == 0
    assert task.status in ("queued", "succeeded")  # it may have been quick


@pytest.mark.exhaustive
def test_an_export_that_ends_every_process_fails(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str
) -> None:
    export_id = started(tenant, adapter)
    for fence in range(1, EXPORT.max_losses + 1):
        wait_for(lambda fence=fence: fence_of(api, export_id) == fence, SECONDS)
        task_process().send_signal(signal.SIGKILL)
    failed = ended(tenant, adapter, export_id)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "worker_lost")
    assert re.search(
        r"^3 processes in a row died or hung while they did this\. The last phase was: [a-z ]+\.$",
        failed["error"]["message"],
    )
    assert objects(api, export_id) == []


def test_nothing_is_left_of_a_deleted_export_or_of_a_deleted_adapters_exports(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted, kept = started(tenant, adapter), started(tenant, adapter)
    for export_id in (deleted, kept):
        assert ended(tenant, adapter, export_id)["status"] == "succeeded"
    tenant.http.delete(f"/v1/adapters/{adapter}/exports/{deleted}")
    clean(api, GRACE_OVER)
    assert objects(api, deleted) == []
    assert objects(api, kept) != []

    assert tenant.http.delete(f"/v1/adapters/{adapter}").status_code == 200
    clean(api, GRACE_OVER)
    assert objects(api, kept) == []


def test_an_expired_export_is_removed(
    api: Api, tenant: Tenant, tasks: WarmTasks, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_id = ended(tenant, adapter, started(tenant, adapter))["id"]
    with api.sessions.begin() as session:
        session.execute(update(Task).where(Task.id == export_id).values(expires_at=from_now(-1)))
    for _ in ("deleted", "emptied"):
        clean(api, GRACE_OVER)
    assert objects(api, export_id) == []
    refusal(tenant.http.get(f"/v1/adapters/{adapter}/exports/{export_id}"), 404, "export_id")
