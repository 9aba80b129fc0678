"""The clocks of API and workers are wrong: times that several processes must agree on are the database's."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook

from core import artifacts
from core.artifacts import Owner
from core.database import database_time
from core.egress import Egress
from core.jobs import lifecycle
from core.roles import Role
from core.secrets.vault import Vault
from core.tables import Claim, Event
from faults.receiver import Receiver
from tests.fixtures.faults.clocks import database_jumps, wrong_by
from tests.fixtures.service.api import LEASE_SECONDS, Api, Tenant, wait_for
from worker.supervisor import janitor
from worker.supervisor.retention import Retention, delete_expired_files, remove_old
from worker.supervisor.webhooks import WebhookSender

SECONDS = 50  # that a test may take between two looks at a clock
# The store refuses requests of clocks that are more than a quarter of an hour wrong
ERRORS = pytest.mark.parametrize("minutes", [-10, 10])


@pytest.fixture
def admin(api: Api) -> Tenant:
    return api.tenant(role=Role.ADMIN)


def seconds_from_now(api: Api, moment: float) -> float:
    """Return how far this Unix time lies ahead of the database's time."""
    with api.sessions() as session:
        return moment - database_time(session).timestamp()


@ERRORS
def test_what_expires_does_so_by_the_clock_of_the_database(api: Api, admin: Tenant, minutes: int) -> None:
    http = admin.http
    with wrong_by(minutes=minutes):
        path = f"/v1/organization/projects/{admin.project_id}/api_keys"
        key = http.post(path, json={"name": "short", "expires_in_seconds": 600}).json()
        link = http.post("/v1/session/links").json()
        lifetime = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
        content = {"file": ("a.txt", b"text")}
        file = http.post("/v1/files", data={"purpose": "user_data", **lifetime}, files=content).json()
        announced = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
        upload = http.post("/v1/uploads", json=announced).json()
        for made, lasts in ((key, 600), (link, 15 * 60), (file, 3600), (upload, 3600)):
            left = seconds_from_now(api, made["expires_at"])
            assert lasts - SECONDS < left <= lasts, made
        # All of them are still valid, however late it is here
        delete_expired_files(api.sessions)
        assert http.get(f"/v1/files/{file['id']}").is_success
        assert http.get("/v1/models", headers={"authorization": f"Bearer {key['value']}"}).is_success
        token, own = link["path"].partition("link=")[2], {"x-tunery-dashboard": "1"}
        assert http.post("/v1/sign_in", json={"link": token}, headers=own).is_success
        assert http.post(f"/v1/uploads/{upload['id']}/parts", files={"data": b"x"}).is_success


@contextmanager
def sending(api: Api) -> Iterator[None]:
    vault, egress = Vault.of(api.settings.secret_keys), Egress(api.settings.egress_allow)
    sender = WebhookSender(api.sessions, vault, egress)
    sender.start()
    yield
    sender.stop()


@pytest.mark.parametrize("hours", [-1, 25])
def test_a_receiver_accepts_events_although_the_clock_of_their_sender_is_wrong(
    api: Api, admin: Tenant, receiver: Receiver, hours: int
) -> None:
    wanted = {"name": "x", "url": receiver.url, "event_types": ["fine_tuning.job.cancelled"]}
    endpoint = admin.http.post("/v1/webhook_endpoints", json=wanted).json()
    path = f"/v1/webhook_endpoints/{endpoint['id']}"
    rotation = {"keep_old_secret_active_for_24_hours": True}
    rotated = admin.http.post(f"{path}/rotate_secret", json=rotation).json()
    job = admin.create_job()["id"]
    with wrong_by(hours=hours), sending(api):
        admin.http.post(f"/v1/fine_tuning/jobs/{job}/cancel")
        wait_for(lambda: receiver.requests)
        sample = {"event_type": "fine_tuning.job.cancelled"}
        assert admin.http.post(f"{path}/test", json=sample).json()["status_code"] == 200
    for request in receiver.requests:
        for secret in (endpoint["signing_secret"], rotated["signing_secret"]):  # both sign for a day
            event = Webhook(secret).verify(request.body, request.headers)
        assert abs(seconds_from_now(api, event["created_at"])) < SECONDS


def test_a_worker_whose_clock_is_years_ahead_removes_nothing_that_is_young(api: Api, admin: Tenant) -> None:
    file = admin.upload()
    job = admin.create_job(training_file=file)["id"]
    admin.http.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    with wrong_by(days=4000):
        remove_old(api.sessions, Retention(audit_days=30, file_days=30, run_days=30, upload_days=30))
    assert admin.http.get(f"/v1/files/{file}").is_success
    logged = admin.http.get("/v1/organization/audit_logs").json()["data"]
    assert "job.cancelled" in {entry["type"] for entry in logged}


def test_a_janitor_whose_clock_is_ahead_empties_nothing_that_may_still_be_written(
    api: Api, admin: Tenant
) -> None:
    lease = api.claim(admin.create_job()["id"])
    key = f"checkpoints/{lease.job_id}/1-late/step-1/a"  # the upload of a trainer that is frozen
    with api.sessions.begin() as session:
        artifacts.open(session, Owner("job", lease.job_id), key, admin.project_id)
    api.store.put_bytes(key, b"bytes")
    admin.http.post(f"/v1/fine_tuning/jobs/{lease.job_id}/cancel")
    with wrong_by(minutes=20):
        janitor.clean(api.sessions, api.store)
    assert api.store.list(key) == [key]


@ERRORS
def test_a_lease_lasts_as_long_as_the_clock_of_the_database_says(
    api: Api, alice: Tenant, minutes: int
) -> None:
    job = alice.create_job()["id"]
    with wrong_by(minutes=minutes):
        lease = api.claim(job)
    with wrong_by(minutes=-minutes), api.sessions.begin() as session:
        assert lifecycle.lose_expired_claims(session, 3) == []
        lifecycle.renew(session, lease, lifecycle.Progress("training", step=1))
    with api.sessions() as session:
        claim = session.scalars(select(Claim).where(Claim.job_id == job)).one()
        assert LEASE_SECONDS - SECONDS < seconds_from_now(api, claim.expires_at.timestamp()) <= LEASE_SECONDS
    database_jumps(api, timedelta(seconds=LEASE_SECONDS))
    with wrong_by(minutes=-minutes), api.sessions.begin() as session:
        assert lifecycle.lose_expired_claims(session, 3) == [job]


def test_events_stand_in_the_order_of_their_commits_whatever_the_clocks_of_their_writers(
    api: Api, alice: Tenant
) -> None:
    job = alice.create_job()["id"]
    with wrong_by(hours=1):
        lease = api.claim(job)
    with wrong_by(hours=-1), api.sessions.begin() as session:
        lifecycle.release(session, lease, "A reason")
    with wrong_by(hours=1):
        alice.http.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    with api.sessions() as session:
        log = session.scalars(select(Event).where(Event.job_id == job).order_by(Event.sequence)).all()
    times = [event.created_at for event in log]
    assert times == sorted(times)
    assert (datetime.now(UTC) - times[-1]) < timedelta(seconds=SECONDS)
    shown = alice.http.get(f"/v1/fine_tuning/jobs/{job}/events").json()["data"]
    assert [event["message"] for event in reversed(shown)] == [event.message for event in log]
    assert log[-1].message == "The job was cancelled"
