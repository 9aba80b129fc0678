"""Cleaning up ended jobs: only the checkpoints of epochs, and objects that rows name, are kept."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import delete, func, select, text, update

from core.jobs.lifecycle import Lease
from core.storage.object_store import ObjectStore, checkpoint_prefix
from core.tables import Checkpoint, Job, Metric
from tests.fixtures.faults.database import killed_at_commit
from tests.fixtures.service.api import Api, Tenant, wait_for
from worker.supervisor import removal
from worker.supervisor.cleanup import remove_deleted_jobs, remove_orphans, remove_resume_checkpoints
from worker.supervisor.janitor import Janitor
from worker.supervisor.removal import delete_in_batches
from worker.supervisor.retention import Retention


@pytest.fixture
def lease(api: Api, alice: Tenant) -> Lease:
    return lease_with_checkpoints(api, alice)


def lease_with_checkpoints(api: Api, alice: Tenant) -> Lease:
    """Return the lease of a job with checkpoints at steps 1 to 4 and an orphan.

    Steps 2 and 4 end an epoch.
    """
    lease = api.claim(alice.create_job()["id"])
    for step in range(1, 5):
        api.checkpoint(lease, step, ends_epoch=step % 2 == 0)
    orphan = checkpoint_prefix(lease.job_id, lease.attempt, 5, "ftckpt-of-no-row")
    for prefix in [*prefixes(api, lease), orphan]:
        api.store.put_bytes(prefix + "weights", b"weights")
    return lease


def prefixes(api: Api, lease: Lease) -> list[str]:
    """Return the prefixes of the job's checkpoints, ordered by step."""
    mine = select(Checkpoint.object_prefix).where(Checkpoint.job_id == lease.job_id)
    with api.sessions() as session:
        return list(session.scalars(mine.order_by(Checkpoint.step)))


def steps(api: Api, lease: Lease) -> list[int]:
    with api.sessions() as session:
        return sorted(session.scalars(select(Checkpoint.step).where(Checkpoint.job_id == lease.job_id)))


def objects(api: Api, lease: Lease) -> set[str]:
    return set(api.store.list(f"checkpoints/{lease.job_id}/"))


def all_objects(api: Api, lease: Lease) -> set[str]:
    return {key for key in api.store.list("") if lease.job_id in key}


def end(api: Api, alice: Tenant, lease: Lease, how: str, folder: Path) -> None:
    if how == "cancelled":
        alice.openai.fine_tuning.jobs.cancel(lease.job_id)
    else:
        api.finish(lease, folder)


def end_an_hour_ago(api: Api, lease: Lease) -> None:
    """Move the end of the job back."""
    with api.sessions.begin() as session:
        hour_ago = func.now() - timedelta(hours=1)
        session.execute(update(Job).where(Job.id == lease.job_id).values(finished_at=hour_ago))


@pytest.mark.parametrize("how", ["succeeded", "cancelled"])
def test_an_ended_job_keeps_the_checkpoints_of_its_epochs_and_its_best(
    api: Api, alice: Tenant, lease: Lease, adapter_folder: Path, how: str
) -> None:
    with api.sessions.begin() as session:
        best = (Checkpoint.job_id == lease.job_id) & (Checkpoint.step == 3)
        session.execute(update(Checkpoint).where(best).values(best=True))
    end(api, alice, lease, how, adapter_folder)
    remove_resume_checkpoints(api.sessions, api.store)
    assert steps(api, lease) == [2, 3, 4]
    assert objects(api, lease) == {prefix + "weights" for prefix in prefixes(api, lease)}


@pytest.mark.parametrize("how", ["succeeded", "cancelled"])
def test_what_a_trainer_uploaded_and_no_row_names_is_removed_some_time_after_the_end(
    api: Api, alice: Tenant, lease: Lease, adapter_folder: Path, how: str
) -> None:
    orphans = {f"adapters/{lease.job_id}/9/weights", f"results/{lease.job_id}/9.csv"}
    for key in orphans:
        api.store.put_bytes(key, b"of a trainer that was lost")
    end(api, alice, lease, how, adapter_folder)
    before = all_objects(api, lease)
    remove_orphans(api.sessions, api.store)
    assert all_objects(api, lease) == before, "a trainer may be uploading still"
    end_an_hour_ago(api, lease)
    remove_orphans(api.sessions, api.store)
    of_no_row = f"checkpoints/{lease.job_id}/{lease.attempt}/5/"
    kept = {key for key in before - orphans if not key.startswith(of_no_row)}
    assert all_objects(api, lease) == kept
    if how == "succeeded":
        adapter = alice.job(lease.job_id)["adapter_id"]
        assert alice.http.get(f"/v1/adapters/{adapter}/content").status_code == 200


def test_a_running_job_keeps_all(api: Api, lease: Lease) -> None:
    remove_resume_checkpoints(api.sessions, api.store)
    assert steps(api, lease) == [1, 2, 3, 4]
    assert len(objects(api, lease)) == 5


def test_what_a_store_that_is_away_keeps_is_removed_later(
    api: Api, alice: Tenant, lease: Lease, adapter_folder: Path, closed_port: int
) -> None:
    """The rows go first, so that no row names objects that are gone."""
    end(api, alice, lease, "cancelled", adapter_folder)
    away = ObjectStore(f"http://127.0.0.1:{closed_port}", "nowhere", retries=0)
    remove_resume_checkpoints(api.sessions, away)
    assert steps(api, lease) == [2, 4]
    assert len(objects(api, lease)) == 5
    end_an_hour_ago(api, lease)
    remove_orphans(api.sessions, away)
    remove_orphans(api.sessions, api.store)
    assert objects(api, lease) == {prefix + "weights" for prefix in prefixes(api, lease)}


def test_checkpoints_whose_removal_is_not_committed_keep_their_objects(
    api: Api, alice: Tenant, lease: Lease
) -> None:
    alice.openai.fine_tuning.jobs.cancel(lease.job_id)
    before = objects(api, lease)
    with killed_at_commit(api.sessions.kw["bind"]) as killed:
        remove_resume_checkpoints(api.sessions, api.store)
    assert killed
    assert (steps(api, lease), objects(api, lease)) == ([1, 2, 3, 4], before)


def test_what_lost_attempts_left_goes_with_a_job_that_is_deleted_early(
    api: Api, alice: Tenant, lease: Lease, adapter_folder: Path
) -> None:
    orphans = {f"adapters/{lease.job_id}/9/weights", f"results/{lease.job_id}/9.csv"}
    for key in orphans:
        api.store.put_bytes(key, b"of a trainer that was lost")
    end(api, alice, lease, "succeeded", adapter_folder)
    adapter = alice.job(lease.job_id)["adapter_id"]
    assert alice.http.delete(f"/v1/fine_tuning/jobs/{lease.job_id}").status_code == 200
    with api.sessions.begin() as session:
        deleted = update(Job).where(Job.id == lease.job_id)
        session.execute(deleted.values(deleted_at=func.now() - timedelta(hours=1)))
    remove_deleted_jobs(api.sessions, api.store)
    assert {key.split("/")[2] for key in all_objects(api, lease)} == {lease.attempt}
    assert alice.http.get(f"/v1/adapters/{adapter}/content").status_code == 200


def test_a_job_whose_objects_the_store_refuses_to_delete_keeps_no_other_from_being_cleaned(
    api: Api, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = [lease_with_checkpoints(api, alice) for _ in range(3)]
    for lease in leases:
        alice.openai.fine_tuning.jobs.cancel(lease.job_id)
    refused = sorted(leases, key=lambda lease: lease.job_id)[1]
    delete = api.store.delete

    def refuse(key: str) -> None:
        if refused.job_id in key:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObject")
        delete(key)

    monkeypatch.setattr(api.store, "delete", refuse)
    remove_resume_checkpoints(api.sessions, api.store)
    left = [len(objects(api, lease)) for lease in leases if lease is not refused]
    assert (left, len(objects(api, refused))) == ([2, 2], 5)


def test_rows_are_deleted_whole_while_another_janitor_deletes_some(
    api: Api, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "BATCH_ROWS", 2)
    of_job = Metric.job_id == lease.job_id
    with api.sessions.begin() as session:
        session.add_all(Metric(job_id=lease.job_id, step=step, data={}) for step in range(1, 6))
    with ThreadPoolExecutor(1) as pool, api.sessions() as other:
        other.execute(delete(Metric).where(of_job, Metric.step <= 2))
        deleting = pool.submit(delete_in_batches, api.sessions, Metric, of_job)
        wait_for(lambda: waits_for_a_row(api))
        other.commit()
        deleting.result(120)
    with api.sessions() as session:
        assert session.scalars(select(Metric.step).where(of_job)).all() == []


def waits_for_a_row(api: Api) -> bool:
    with api.sessions() as session:
        return bool(session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


def test_the_janitor_cleans_until_it_is_stopped(api: Api, alice: Tenant, lease: Lease) -> None:
    janitor = Janitor(api.sessions, api.store, 0.05, Retention())
    janitor.start()
    alice.openai.fine_tuning.jobs.cancel(lease.job_id)
    wait_for(lambda: steps(api, lease) == [2, 4])
    janitor.stop()
    janitor.join(120)
    assert not any(thread.name == "janitor" for thread in threading.enumerate())
