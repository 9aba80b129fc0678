"""Deleted jobs: what is deleted with a job, what stays, and who may delete one."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.roles import Role
from core.storage.object_store import checkpoint_prefix, checkpoints_prefix
from core.tables import (
    Artifact,
    AuditLog,
    Candidate,
    CandidateMetric,
    Checkpoint,
    CheckpointPermission,
    Event,
    Job,
    Metric,
    Task,
)
from core.work import lease as leases
from core.work.kinds import TRACKING
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.work.evals_api import CHECK

JOBS = "/v1/fine_tuning/jobs"
DELETES_METRICS = "WITH batch AS \n(SELECT ctid \nFROM metrics"
SAME = CHECK | {"reference": "another text of the client"}
BELONGS = (Event, Metric, Checkpoint, Candidate, CandidateMetric)


class Trained(NamedTuple):
    job_id: str
    adapter_id: str
    model: str


@pytest.fixture
def trained(api: Api, alice: Tenant, adapter_folder: Path) -> Trained:
    """Make a job that has succeeded, with one row of each kind that can belong to a job."""
    asked = {"suffix": "v1", "metadata": {"team": "support"}, "integrations": [{"type": "tensorboard"}]}
    texts = {"augmentation": {"system_prompts": ["a text of the client"]}, "evaluate": {"criteria": [SAME]}}
    job_id = alice.create_job(**asked, **texts, validation_file=alice.upload())["id"]
    lease = api.claim(job_id)
    checkpoint_id = api.checkpoint(lease, 2)
    prefix = checkpoint_prefix(job_id, lease.attempt, 2, checkpoint_id)
    api.store.put_bytes(prefix + "weights", b"weights")
    with api.sessions.begin() as session:
        session.add(Metric(job_id=job_id, step=1, data={"train_loss": 1.0}))
        session.add(CandidateMetric(job_id=job_id, number=0, step=1, data={"train_loss": 1.0}))
        session.add(
            Candidate(job_id=job_id, number=0, status="won", step=1, trained_tokens=1, rungs=[], reason=None)
        )
    adapter_id = api.finish(lease, adapter_folder)
    return Trained(job_id, adapter_id, alice.job(job_id)["fine_tuned_model"])


def delete(tenant: Tenant, job_id: str, **headers: str) -> Any:
    return tenant.http.delete(f"{JOBS}/{job_id}", headers=headers)


def belongings(session: Session, job_id: str) -> dict[str, int]:
    """Return how many rows of each kind belong to the job."""
    counted = {
        table.__tablename__: select(func.count()).select_from(table).where(table.job_id == job_id)
        for table in BELONGS
    }
    return {name: session.scalars(query).one() for name, query in counted.items()}


def test_a_deleted_job_is_gone_from_every_route(alice: Tenant, trained: Trained) -> None:
    answer = delete(alice, trained.job_id)
    assert answer.json() == {"id": trained.job_id, "object": "fine_tuning.job.deleted", "deleted": True}
    path = f"{JOBS}/{trained.job_id}"
    for route in ("", "/events", "/checkpoints", "/metrics", "/candidates", "/candidates/curves"):
        refusal(alice.http.get(path + route), 404, "fine_tuning_job_id", "fine_tune_not_found")
    for action in ("cancel", "pause", "resume"):
        refusal(alice.http.post(f"{path}/{action}"), 404, "fine_tuning_job_id")
    refusal(alice.http.get(path, headers={"if-none-match": 'W/"old"'}), 404, "fine_tuning_job_id")
    assert trained.job_id not in [job["id"] for job in alice.http.get(JOBS).json()["data"]]
    refusal(alice.http.get(f"/v1/models/{trained.model}:ckpt-step-2"), 404, "model")


def test_a_page_of_jobs_has_another_tag_once_one_is_deleted(alice: Tenant, trained: Trained) -> None:
    tag = alice.http.get(JOBS).headers["etag"]
    assert alice.http.get(JOBS, headers={"if-none-match": tag}).status_code == 304
    delete(alice, trained.job_id)
    assert alice.http.get(JOBS, headers={"if-none-match": tag}).status_code == 200


def test_its_adapter_its_model_and_its_files_stay(alice: Tenant, trained: Trained) -> None:
    shown = alice.job(trained.job_id)
    before = alice.http.get(f"/v1/adapters/{trained.adapter_id}").json()
    assert before["job_deleted"] is False
    delete(alice, trained.job_id)
    after = alice.http.get(f"/v1/adapters/{trained.adapter_id}").json()
    assert after == before | {"job_deleted": True}
    assert after["model"] == trained.model
    assert alice.http.get(f"/v1/models/{trained.model}").json()["adapter_id"] == trained.adapter_id
    assert alice.http.get(f"/v1/adapters/{trained.adapter_id}/content").status_code == 200
    for file_id in (shown["training_file"], *shown["result_files"]):
        assert alice.http.get(f"/v1/files/{file_id}").status_code == 200


@pytest.mark.parametrize("status", ["queued", "running", "paused"])
def test_a_job_that_has_not_ended_is_to_be_cancelled_first(api: Api, alice: Tenant, status: str) -> None:
    job_id = alice.create_job()["id"]
    if status == "running":
        api.claim(job_id)
    if status == "paused":
        alice.http.post(f"{JOBS}/{job_id}/pause")
    error = refusal(delete(alice, job_id), 400, None, "job_not_deletable")
    rule = "only a job that has ended can be deleted. Cancel it first."
    assert error["message"] == f"Job {job_id} is {status}; {rule}"
    assert alice.job(job_id)["status"] == status
    alice.http.post(f"{JOBS}/{job_id}/cancel")
    assert delete(alice, job_id).status_code == 200


def test_a_repeated_request_gets_the_same_answer(alice: Tenant, trained: Trained) -> None:
    first = delete(alice, trained.job_id, **{"idempotency-key": trained.job_id})
    again = delete(alice, trained.job_id, **{"idempotency-key": trained.job_id})
    assert (again.status_code, again.json()) == (200, first.json())


def test_the_audit_log_says_who_deleted_it(api: Api, alice: Tenant, trained: Trained) -> None:
    delete(alice, trained.job_id)
    with api.sessions() as session:
        query = select(AuditLog).where(
            AuditLog.action == "job.deleted", AuditLog.resource_id == trained.job_id
        )
        assert session.scalars(query).one().project_id == alice.project_id


def test_what_belonged_to_it_goes_once_no_trainer_can_be_writing(
    api: Api, alice: Tenant, bob: Tenant, trained: Trained
) -> None:
    admin = api.tenant(alice.project, Role.ADMIN)
    for name in (trained.model, f"{trained.model}:ckpt-step-2"):
        path = f"/v1/fine_tuning/checkpoints/{name}/permissions"
        assert admin.http.post(path, json={"project_ids": [bob.project_id]}).status_code == 200
    delete(alice, trained.job_id)
    shared = [model["id"] for model in bob.http.get("/v1/models").json()["data"]]
    assert trained.model in shared
    assert f"{trained.model}:ckpt-step-2" not in shared

    clean(api)
    with api.sessions() as session:
        assert all(belongings(session, trained.job_id).values())
    clean(api, GRACE_OVER)
    with api.sessions() as session:
        assert set(belongings(session, trained.job_id).values()) == {0}
        steps = select(CheckpointPermission.step).where(CheckpointPermission.job_id == trained.job_id)
        assert session.scalars(steps).all() == [None]
        row = session.get_one(Job, trained.job_id)
        assert (row.client_metadata, row.integrations, row.data_check) == (None, [], None)
        assert "text of the client" not in str(row.spec)
        assert row.spec["adapter"]["type"] == "lora"
        held = select(Artifact.id).where(Artifact.owner_id == trained.job_id, Artifact.counted)
        assert session.scalars(held).all() == []
    assert api.store.list(checkpoints_prefix(trained.job_id)) == []
    assert alice.http.get(f"/v1/adapters/{trained.adapter_id}/content").status_code == 200


def test_a_sweep_goes_with_its_job(alice: Tenant) -> None:
    file = alice.upload()
    body = {"model": BASE_MODEL, "training_file": file, "validation_file": file}
    sweep = alice.http.post(
        "/v1/fine_tuning/sweeps", json=body | {"parameters": {"training.learning_rate": [1e-3, 1e-4]}}
    ).json()
    refusal(delete(alice, sweep["job_id"]), 400, None, "job_not_deletable")
    alice.http.post(f"{JOBS}/{sweep['job_id']}/cancel")
    delete(alice, sweep["job_id"])
    refusal(alice.http.get(f"/v1/fine_tuning/sweeps/{sweep['id']}"), 404, "sweep_id", "sweep_not_found")
    listed = alice.http.get("/v1/fine_tuning/sweeps").json()["data"]
    assert sweep["id"] not in [each["id"] for each in listed]


def test_nothing_more_of_it_is_reported_to_trackers(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job(integrations=[{"type": "tensorboard"}])["id"]
    alice.http.post(f"{JOBS}/{job_id}/cancel")
    delete(alice, job_id)
    with api.sessions.begin() as session:
        assert leases.take(session, "a-holder", [TRACKING.name]) is None
    clean(api, GRACE_OVER)
    with api.sessions() as session:
        (tracker,) = session.scalars(select(Task).where(Task.job_id == job_id))
    assert tracker.deleted_at is not None
    assert tracker.finished_at is not None


def test_what_was_used_for_it_stays_counted(alice: Tenant, api: Api, trained: Trained) -> None:
    admin = api.tenant(alice.project, Role.ADMIN)
    path = "/v1/organization/usage/fine_tuning"

    def tokens() -> int:
        buckets = admin.http.get(path)
        assert buckets.status_code == 200, buckets.text
        return sum(
            result["trained_tokens"] for bucket in buckets.json()["data"] for result in bucket["results"]
        )

    before = tokens()
    delete(alice, trained.job_id)
    clean(api, GRACE_OVER)
    assert tokens() == before > 0
