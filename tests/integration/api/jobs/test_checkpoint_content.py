"""Downloads of the weights of checkpoints over real HTTP."""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from core.artifacts import GRACE, Owner
from core.ids import new_id
from core.jobs import lifecycle
from core.storage.file_names import POSITION_NAME, STATE_NAME
from core.storage.folders import publish_folder
from core.storage.object_store import checkpoint_prefix
from core.tables import Checkpoint
from tests.fixtures.service.api import Api, Tenant, refusal
from tests.fixtures.service.janitor import GRACE_OVER, clean, keep

JOBS = "/v1/fine_tuning/jobs"


class Kept(NamedTuple):
    job_id: str
    checkpoint_id: str
    prefix: str
    folder: Path

    @property
    def path(self) -> str:
        return f"{JOBS}/{self.job_id}/checkpoints/{self.checkpoint_id}/content"


@pytest.fixture
def kept(api: Api, alice: Tenant, tmp_path: Path) -> Kept:
    return checkpoint_of(api, alice, tmp_path, promised=True)


def checkpoint_of(api: Api, tenant: Tenant, folder: Path, *, promised: bool) -> Kept:
    """Store a checkpoint as a trainer does. Its weights are larger than a chunk of the object store."""
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 3000)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / STATE_NAME).write_bytes(b"moments")
    (folder / POSITION_NAME).write_text("{}")
    lease = api.claim(tenant.create_job()["id"])
    checkpoint_id = new_id("ftckpt-")
    prefix = checkpoint_prefix(lease.job_id, lease.attempt, 4, checkpoint_id)
    checkpoint = Checkpoint(
        id=checkpoint_id,
        job_id=lease.job_id,
        fence=lease.fence,
        step=4,
        promised=promised,
        metrics={},
        object_prefix=prefix,
        files=publish_folder(api.store, folder, prefix),
    )
    with api.sessions.begin() as session:
        keep(session, Owner("job", lease.job_id), prefix, tenant.project_id)
        lifecycle.record_checkpoint(session, lease, checkpoint)
    return Kept(lease.job_id, checkpoint_id, prefix, folder)


def test_a_checkpoint_s_weights_come_in_a_zip_without_what_only_a_trainer_needs(
    alice: Tenant, kept: Kept
) -> None:
    answer = alice.http.get(kept.path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert f"{kept.checkpoint_id}.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    wanted = ("adapter_config.json", "adapter_model.safetensors")
    assert found == {name: (kept.folder / name).read_bytes() for name in wanted}


def test_it_is_the_job_s_own(alice: Tenant, kept: Kept) -> None:
    other = alice.create_job()["id"]
    foreign = f"{JOBS}/{other}/checkpoints/{kept.checkpoint_id}/content"
    refusal(alice.http.get(foreign), 404, "checkpoint_id", "checkpoint_not_found")


def test_one_that_only_serves_a_resume_is_not_offered(api: Api, alice: Tenant, tmp_path: Path) -> None:
    hidden = checkpoint_of(api, alice, tmp_path, promised=False)
    refusal(alice.http.get(hidden.path), 404, "checkpoint_id", "checkpoint_not_found")


def test_bytes_that_the_store_has_lost_are_told_before_the_first(api: Api, alice: Tenant, kept: Kept) -> None:
    api.store.delete(kept.prefix + "adapter_config.json")
    error = refusal(alice.http.get(kept.path), 404, None, "content_missing")
    assert "adapter_config.json" in error["message"]


def test_a_deleted_job_s_weights_are_gone_while_their_bytes_still_lie_there(
    api: Api, alice: Tenant, kept: Kept
) -> None:
    alice.http.post(f"{JOBS}/{kept.job_id}/cancel")
    alice.http.delete(f"{JOBS}/{kept.job_id}")
    refusal(alice.http.get(kept.path), 404, "fine_tuning_job_id", "fine_tune_not_found")
    clean(api)
    assert api.store.list(kept.prefix), f"removed before {GRACE} were over"
    clean(api, GRACE_OVER)
    assert not api.store.list(kept.prefix)
