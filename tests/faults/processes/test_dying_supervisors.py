"""Janitor, sender of webhooks and supervisor die at each named point: the next one does the rest."""

from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from core import artifacts
from core.artifacts import Owner
from core.jobs import lifecycle
from core.roles import Role
from core.storage.object_store import checkpoint_prefix
from core.tables import Checkpoint, WebhookDelivery
from faults.checker import Client, check
from faults.receiver import Receiver
from tests.fixtures.faults import crashes
from tests.fixtures.faults.cleaning import clean, send_webhooks
from tests.fixtures.faults.dying import deaths_at
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api, Tenant
from tests.fixtures.service.janitor import leftovers
from tests.fixtures.service.stack import JOB_SECONDS, Stack

JOBS, FILES, UPLOADS = "/v1/fine_tuning/jobs", "/v1/files", "/v1/uploads"


@pytest.fixture
def tenant(job_api: Api) -> Tenant:
    return job_api.tenant(role=Role.ADMIN)


def job_with_checkpoints(api: Api, tenant: Tenant) -> lifecycle.Lease:
    """Return a running job with checkpoints of an epoch and for a resume, and one that was never recorded."""
    lease = api.claim(tenant.create_job(model=TINY)["id"])
    for step in (1, 2):
        api.checkpoint(lease, step, promised=step == 2)
    with api.sessions() as session:
        mine = select(Checkpoint.object_prefix).where(Checkpoint.job_id == lease.job_id)
        prefixes = list(session.scalars(mine))
    lost = [checkpoint_prefix(lease.job_id, lease.attempt, 3, "ftckpt-1"), f"adapters/{lease.job_id}/0-lost/"]
    with api.sessions.begin() as session:
        for prefix in lost:
            artifacts.open(session, Owner("job", lease.job_id), prefix, tenant.project_id)
    for prefix in [*prefixes, *lost]:
        api.store.put_bytes(prefix + "weights", b"weights")
    return lease


def leave_all_kinds_behind(api: Api, tenant: Tenant, folder: Path) -> Client:
    """Leave something for each removal of the janitor, and return what must stay."""
    http = tenant.http
    (folder / "adapter").mkdir(exist_ok=True)
    (folder / "adapter" / "weights").write_bytes(b"weights")
    (folder / "adapter" / "manifest.json").write_text('{"files": [{"name": "weights"}]}')
    cancelled, deleted = (job_with_checkpoints(api, tenant).job_id for _ in range(2))
    http.post(f"{JOBS}/{cancelled}/cancel")
    http.post(f"{JOBS}/{deleted}/cancel")
    http.delete(f"{JOBS}/{deleted}")
    succeeded, bare = job_with_checkpoints(api, tenant), job_with_checkpoints(api, tenant)
    for lease in (succeeded, bare):
        api.finish(lease, folder / "adapter")
    names = [tenant.job(lease.job_id)["fine_tuned_model"] for lease in (succeeded, bare)]
    assert http.delete(f"/v1/models/{names[1]}").is_success
    kept, gone = tenant.upload(), tenant.upload()
    http.delete(f"{FILES}/{gone}")
    announced = {"bytes": 5, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
    upload = http.post(UPLOADS, json=announced).json()["id"]
    http.post(f"{UPLOADS}/{upload}/parts", files={"data": b"hello"})
    http.post(f"{UPLOADS}/{upload}/cancel")
    return Client(tenant, {cancelled, succeeded.job_id, bare.job_id}, {kept})


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", ["artifact.emptied"])
def test_the_next_janitor_removes_what_a_dead_one_has_left(
    job_api: Api, tenant: Tenant, tmp_path: Path, place: str
) -> None:
    client = leave_all_kinds_behind(job_api, tenant, tmp_path)
    assert deaths_at(place, clean, job_api.settings) > 0
    assert leftovers(job_api) == []
    check(job_api, [client])


@pytest.mark.parametrize("place", ["webhook.claimed", "webhook.sent"])
@pytest.mark.exhaustive
def test_a_webhook_is_sent_although_its_sender_dies(
    job_api: Api, tenant: Tenant, receiver: Receiver, place: str
) -> None:
    wanted = {"name": "x", "url": receiver.url, "event_types": ["fine_tuning.job.cancelled"]}
    endpoint = tenant.http.post("/v1/webhook_endpoints", json=wanted).json()["id"]
    tenant.http.post(f"{JOBS}/{tenant.create_job(model=TINY)['id']}/cancel")
    assert deaths_at(place, send_webhooks, job_api.settings) == 1
    with job_api.sessions.begin() as session:  # as if the claim of the dead sender had run out
        pending = WebhookDelivery.status == "pending"
        session.execute(update(WebhookDelivery).where(pending).values(next_attempt_at=func.now()))
    send_webhooks(job_api.settings)
    with job_api.sessions() as session:
        mine = select(WebhookDelivery.status).where(WebhookDelivery.endpoint_id == endpoint)
        assert set(session.scalars(mine)) == {"delivered"}
    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert len(set(ids)) == 1
    assert len(ids) == (2 if place == "webhook.sent" else 1)


@pytest.mark.exhaustive
def test_a_job_survives_the_deaths_of_trainer_and_supervisor(stack: Stack, tmp_path: Path) -> None:
    """The first supervisor dies when its trainer has died, the second in its scan for lost leases."""
    job = stack.create_job(rows=24, epochs=30, model=TINY)
    for place in ("trainer.died", "leases.lost"):
        worker = stack.start_worker(crashes.supervisor_dies_at(place))
        if place == "trainer.died":
            stack.wait_for_step(job)
            worker.trainer().kill()
        worker.process.wait(JOB_SECONDS)
        assert f"killed at {place}" in stack.log()
    stack.start_worker()
    stack.assert_succeeded_exactly_once(job, tmp_path)
    check(stack.api, [Client(stack.tenant, {job})])
