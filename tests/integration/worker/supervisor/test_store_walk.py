"""The walk through the object store: what nothing needs goes, and its neighbours stay."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import delete, func, update
from worker.supervisor.store_walk import walk_store

from core.storage.object_store import PART_BYTES, ObjectStore, checkpoint_prefix, result_key
from core.tables import Adapter, File, Job, StoreWalk, Upload
from tests.fixtures.service.api import Api, Tenant
from worker.supervisor import store_walk

LONG_AGO = func.now() - timedelta(days=1)


@pytest.fixture
def bucket(api: Api) -> ObjectStore:
    """Return a store of this test's own, in which all owners are rows of `api`."""
    store = ObjectStore(api.settings.server("s3_endpoint_url"), f"walk-{uuid4().hex[:8]}")
    store.ensure_bucket()
    return store


@pytest.fixture(autouse=True)
def new_walk(api: Api) -> None:
    with api.sessions.begin() as session:
        session.execute(delete(StoreWalk))


@pytest.fixture
def cancelled(alice: Tenant, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a cancelled job. Nothing counts as young in its test."""
    monkeypatch.setattr(store_walk, "YOUNG", timedelta())
    job_id: str = alice.create_job()["id"]
    alice.openai.fine_tuning.jobs.cancel(job_id)
    return job_id


def fill(store: ObjectStore, *keys: str) -> set[str]:
    for key in keys:
        store.put_bytes(key, b"bytes")
    return set(keys)


def change(api: Api, table: Any, row_id: str, **columns: Any) -> None:
    with api.sessions.begin() as session:
        session.execute(update(table).where(table.id == row_id).values(**columns))


def rest_no_more(api: Api) -> None:
    """Let the next page be due, as if time had passed."""
    with api.sessions.begin() as session:
        session.execute(update(StoreWalk).values(next_page_at=func.now()))


def announce(tenant: Tenant) -> str:
    body = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
    upload_id: str = tenant.http.post("/v1/uploads", json=body).json()["id"]
    return upload_id


def trained_job(api: Api, tenant: Tenant, folder: Path) -> tuple[str, set[str]]:
    """Return a job that succeeded long ago, and keys of objects that its rows need."""
    lease = api.claim(tenant.create_job()["id"])
    checkpoint_id = api.checkpoint(lease, 2)
    adapter_id = api.finish(lease, folder)
    result = result_key(lease.job_id, lease.attempt)
    with api.sessions.begin() as session:
        job = session.get_one(Job, lease.job_id)
        job.finished_at = LONG_AGO
        session.get_one(File, job.result_file_id).object_key = result
        weights = session.get_one(Adapter, adapter_id).object_prefix + "weights"
    checkpoint = checkpoint_prefix(lease.job_id, lease.attempt, 2, checkpoint_id)
    return lease.job_id, {weights, result, checkpoint + "weights"}


def test_what_arrives_after_the_cleaning_goes_and_its_neighbours_stay(
    api: Api, alice: Tenant, bucket: ObjectStore, adapter_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, needed = trained_job(api, alice, adapter_folder)
    deleted, _ = trained_job(api, alice, adapter_folder)
    change(api, Job, deleted, deleted_at=LONG_AGO, cleaned_at=LONG_AGO)
    running = api.claim(alice.create_job()["id"]).job_id
    late = fill(
        bucket,
        *(f"adapters/{trained}/12/weights", f"results/{trained}/12.csv"),
        *(f"checkpoints/{trained}/9/4/ftckpt-late/weights", f"adapters/{deleted}/9/weights"),
    )
    kept = fill(bucket, *needed)
    kept |= fill(bucket, f"checkpoints/{running}/1/4/ftckpt-1/weights", f"adapters/{running}/1/weights")
    kept |= fill(bucket, "adapters/ftjob-of-another-installation/1/weights", "files/file-of-another")
    kept |= fill(bucket, "uploads/upload_of-another/part_1", f"backups/{trained}/weights", ".tunery-probe")

    walk_store(api.sessions, bucket)
    assert set(bucket.list("")) == kept | late, "they are young: something may be writing them still"
    rest_no_more(api)
    monkeypatch.setattr(store_walk, "YOUNG", timedelta())
    walk_store(api.sessions, bucket)
    assert set(bucket.list("")) == kept


def test_what_deleted_files_and_ended_uploads_left_goes(
    api: Api, alice: Tenant, bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_walk, "YOUNG", timedelta())
    gone, there = alice.upload(), alice.upload()
    assert alice.openai.files.delete(gone).deleted
    ended, pending, completed = (announce(alice) for _ in range(3))
    alice.http.post(f"/v1/uploads/{ended}/cancel")
    key = f"uploads/{completed}/{there}"
    change(api, File, there, object_key=key)
    change(api, Upload, completed, status="completed", file_id=there, ended_at=func.now())
    fill(
        bucket,
        f"files/{alice.project_id}/{gone}",
        f"uploads/{ended}/part_late",
        f"uploads/{completed}/part_1",
    )
    kept = fill(bucket, f"files/{alice.project_id}/{there}", f"uploads/{pending}/part_1", key)
    walk_store(api.sessions, bucket)
    assert set(bucket.list("")) == kept
    change(api, File, there, deleted_at=func.now())
    rest_no_more(api)
    walk_store(api.sessions, bucket)
    assert set(bucket.list("")) == kept - {key}


def test_what_was_stored_and_never_registered_goes_if_the_project_is_ours(
    api: Api, alice: Tenant, bucket: ObjectStore, adapter_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API died between the store and the row: of an upload, and of an import."""
    project, there = alice.project_id, alice.upload()
    adapter_id = api.finish(api.claim(alice.create_job()["id"]), adapter_folder)
    change(api, Adapter, adapter_id, object_prefix=f"imports/{project}/{adapter_id}/1/")
    kept = fill(bucket, f"files/{project}/{there}", f"imports/{project}/{adapter_id}/1/weights")
    kept |= fill(bucket, "files/proj_of-another/file-1", "imports/proj_of-another/adapter-1/1/weights")
    kept |= fill(bucket, "files/file-of-an-earlier-release")
    lost = fill(bucket, f"files/{project}/file-lost", f"imports/{project}/adapter-lost/1/weights")
    late = fill(bucket, f"imports/{project}/{adapter_id}/2/weights")  # of a server that was late
    lost |= late

    unfinished = f"files/{project}/file-unfinished"
    bucket.writer(unfinished).write(b"x" * 2 * PART_BYTES)  # the process dies before the end

    walk_store(api.sessions, bucket)
    assert set(bucket.list("")) == kept | lost, "they may be registered yet"
    assert [found.key for found in bucket.unfinished_writes("", 10)] == [unfinished]
    rest_no_more(api)
    monkeypatch.setattr(store_walk, "YOUNG", timedelta())
    walk_store(api.sessions, bucket)
    assert set(bucket.list("")) == kept | lost - late, "the database may be an older backup"
    rest_no_more(api)
    monkeypatch.setattr(store_walk, "UNREGISTERED_KEPT", timedelta())
    walk_store(api.sessions, bucket)
    assert set(bucket.list("")) == kept
    assert bucket.unfinished_writes("", 10) == []


def test_a_large_bucket_is_gone_through_over_many_rounds(
    api: Api, bucket: ObjectStore, cancelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_walk, "PAGE_KEYS", 3)
    fill(bucket, *(f"results/{cancelled}/{fence}.csv" for fence in range(11, 21)))
    left = []
    for _ in range(4):
        walk_store(api.sessions, bucket)
        left.append(len(bucket.list("results/")))
    assert left == [7, 4, 1, 0]
    fill(bucket, f"results/{cancelled}/1.csv")
    walk_store(api.sessions, bucket)
    assert len(bucket.list("results/")) == 1, "the walk rests before the next one"


def test_the_page_of_a_worker_that_died_is_taken_later(api: Api, bucket: ObjectStore, cancelled: str) -> None:
    fill(bucket, f"results/{cancelled}/1.csv")
    assert store_walk._take_page(api.sessions, "results/") == ""
    walk_store(api.sessions, bucket)
    assert len(bucket.list("results/")) == 1, "the page is another worker's"
    rest_no_more(api)
    walk_store(api.sessions, bucket)
    assert bucket.list("results/") == []


def test_an_object_that_the_store_keeps_stops_nothing(
    api: Api, bucket: ObjectStore, cancelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bucket, *(f"results/{cancelled}/{fence}.csv" for fence in (1, 2, 3)))
    delete = bucket.delete

    def refuse(key: str) -> None:
        if key.endswith("/2.csv"):
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObject")
        delete(key)

    monkeypatch.setattr(bucket, "delete", refuse)
    walk_store(api.sessions, bucket)
    assert bucket.list("results/") == [f"results/{cancelled}/2.csv"]
