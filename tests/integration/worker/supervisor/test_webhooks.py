"""Webhooks from the end of a job to the receiver: none is lost, forged, or sent to the wrong place."""

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.webhooks import (
    DeletedWebhookEndpoint,
    FineTuningJobCancelledWebhookEvent,
    FineTuningJobFailedWebhookEvent,
    FineTuningJobSucceededWebhookEvent,
    WebhookEndpoint,
    WebhookEndpointTestResult,
    WebhookEndpointWithSecret,
    WebhookEventTypeList,
)
from sqlalchemy import func, null, select, text, update

from core import webhooks
from core.egress import Egress
from core.errors import JobError
from core.ids import new_id
from core.jobs import lifecycle
from core.roles import Role
from core.secrets.vault import Vault
from core.tables import Job, WebhookDelivery
from faults.receiver import Receiver
from tests.fixtures.service.api import Api, Tenant, refusal, strictly, wait_for
from tests.fixtures.service.shell import Shell
from worker.supervisor.retention import remove_old_deliveries
from worker.supervisor.webhooks import MAX_CONCURRENT, MAX_PER_PROJECT, WebhookSender

EVENTS = list(webhooks.EVENT_TYPES)


@pytest.fixture
def admin(api: Api) -> Tenant:
    """Return the administrator of a new project."""
    return api.tenant(role=Role.ADMIN)


@pytest.fixture
def sender(api: Api) -> Iterator[WebhookSender]:
    sender = WebhookSender(
        api.sessions, Vault.of(api.settings.secret_keys), Egress(api.settings.egress_allow)
    )
    sender.start()
    yield sender
    sender.stop()


def endpoint_at(admin: Tenant, receiver: Receiver) -> WebhookEndpointWithSecret:
    return admin.openai.webhooks.create(name="ours", url=f"{receiver.url}/hook", event_types=EVENTS)


def deliveries(admin: Tenant, endpoint_id: str) -> list[dict[str, Any]]:
    answer = admin.http.get(f"/v1/webhook_endpoints/{endpoint_id}/deliveries")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


def make_due(api: Api, delivery_id: str) -> None:
    """Make a delivery due now, as if its delay had passed."""
    with api.sessions.begin() as session:
        due = update(WebhookDelivery).where(WebhookDelivery.id == delivery_id)
        session.execute(due.values(next_attempt_at=datetime.now(UTC) - timedelta(seconds=1)))


def wait_for_attempt(admin: Tenant, endpoint_id: str, attempts: int) -> dict[str, Any]:
    """Return the endpoint's only delivery, once `attempts` attempts have ended."""

    def ended_delivery() -> dict[str, Any] | None:
        (delivery,) = deliveries(admin, endpoint_id)
        ended = delivery["response_code"] or delivery["error"]
        return delivery if delivery["attempts"] >= attempts and ended else None

    delivery: dict[str, Any] = wait_for(ended_delivery)
    return delivery


def end_with(api: Api, admin: Tenant, job_id: str, status: str, folder: Path) -> None:
    if status == "cancelled":
        admin.openai.fine_tuning.jobs.cancel(job_id)
        return
    lease = api.claim(job_id)
    if status == "succeeded":
        api.finish(lease, folder)
        return
    with api.sessions.begin() as session:
        lifecycle.fail(session, lease, JobError("a_code", "A reason"))


@pytest.mark.parametrize(
    ("status", "type_"),
    [
        ("succeeded", FineTuningJobSucceededWebhookEvent),
        ("failed", FineTuningJobFailedWebhookEvent),
        ("cancelled", FineTuningJobCancelledWebhookEvent),
    ],
)
def test_the_official_client_unwraps_what_is_sent_at_the_end_of_a_job(
    api: Api,
    admin: Tenant,
    receiver: Receiver,
    sender: WebhookSender,
    adapter_folder: Path,
    status: str,
    type_: Any,
) -> None:
    endpoint = endpoint_at(admin, receiver)
    job_id = admin.create_job()["id"]
    end_with(api, admin, job_id, status, adapter_folder)
    wait_for(lambda: receiver.requests)
    (sent,) = receiver.requests
    event = admin.openai.webhooks.unwrap(sent.body, sent.headers, secret=endpoint.signing_secret)
    assert isinstance(event, type_)
    strictly(type_, json.loads(sent.body))
    assert (event.data.id, event.id) == (job_id, sent.headers["webhook-id"])
    with pytest.raises(openai.InvalidWebhookSignatureError):
        admin.openai.webhooks.unwrap(sent.body + b" ", sent.headers, secret=endpoint.signing_secret)
    delivery = wait_for_attempt(admin, endpoint.id, 1)
    assert (delivery["status"], delivery["response_code"]) == ("delivered", 200)


def test_the_delivery_is_written_with_the_end_of_the_job_or_not_at_all(
    api: Api, admin: Tenant, receiver: Receiver
) -> None:
    endpoint = endpoint_at(admin, receiver)
    job_id = admin.create_job()["id"]
    with api.sessions() as session:
        lifecycle.cancel(session, session.get_one(Job, job_id))
        mine = select(WebhookDelivery.id).where(WebhookDelivery.endpoint_id == endpoint.id)
        assert session.scalars(mine).all()
        session.rollback()
    assert deliveries(admin, endpoint.id) == []
    admin.openai.fine_tuning.jobs.cancel(job_id)
    assert len(deliveries(admin, endpoint.id)) == 1


def test_only_the_jobs_project_is_told_and_only_of_the_events_that_it_asked_for(
    api: Api, admin: Tenant, receiver: Receiver
) -> None:
    failures = admin.openai.webhooks.create(
        name="failures", url=receiver.url, event_types=["fine_tuning.job.failed"]
    )
    stranger = api.tenant(role=Role.ADMIN)
    foreign = endpoint_at(stranger, receiver)
    admin.openai.fine_tuning.jobs.cancel(admin.create_job()["id"])
    assert deliveries(admin, failures.id) == []
    assert deliveries(stranger, foreign.id) == []


def test_a_failed_attempt_is_repeated_later_with_the_same_id(
    api: Api, admin: Tenant, receiver: Receiver, sender: WebhookSender
) -> None:
    receiver.statuses = [500, 307]
    endpoint = endpoint_at(admin, receiver)
    admin.openai.fine_tuning.jobs.cancel(admin.create_job()["id"])
    for attempt, status in ((1, 500), (2, 307)):
        delivery = wait_for_attempt(admin, endpoint.id, attempt)
        wait = delivery["next_attempt_at"] - delivery["last_attempt_at"]
        assert wait == pytest.approx(webhooks.DELAYS[attempt - 1], rel=webhooks.JITTER, abs=1.5)
        assert (delivery["status"], delivery["response_code"]) == ("pending", status)
        make_due(api, delivery["id"])
    assert wait_for_attempt(admin, endpoint.id, 3)["status"] == "delivered"
    assert [request.path for request in receiver.requests] == ["/hook"] * 3
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_the_last_attempt_gives_up_and_a_redelivery_begins_anew(
    api: Api, admin: Tenant, receiver: Receiver, sender: WebhookSender
) -> None:
    receiver.statuses = [503]
    endpoint = endpoint_at(admin, receiver)
    with api.sessions.begin() as session:
        lifecycle.cancel(session, session.get_one(Job, admin.create_job()["id"]))
        session.flush()
        mine = update(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint.id)
        session.execute(mine.values(attempts=len(webhooks.DELAYS)))
    delivery = wait_for_attempt(admin, endpoint.id, len(webhooks.DELAYS) + 1)
    assert (delivery["status"], delivery["next_attempt_at"]) == ("failed", None)

    url = f"/v1/webhook_endpoints/{endpoint.id}/deliveries/{delivery['id']}/redeliver"
    assert admin.http.post(url).json()["status"] == "pending"
    wait_for(lambda: deliveries(admin, endpoint.id)[0]["status"] == "delivered")
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_deliveries_that_ended_a_month_ago_are_removed_and_waiting_ones_are_kept(
    api: Api, admin: Tenant, receiver: Receiver
) -> None:
    endpoint = endpoint_at(admin, receiver)
    now = datetime.now(UTC)
    made = {
        "old": ("delivered", now - timedelta(days=31)),
        "given up": ("failed", now - timedelta(days=31)),
        "recent": ("delivered", now - timedelta(days=29)),
        "waiting": ("pending", None),
    }
    with api.sessions.begin() as session:
        for name, (status, tried_at) in made.items():
            session.add(
                WebhookDelivery(
                    id=new_id("whd_"),
                    endpoint_id=endpoint.id,
                    event_type=name,
                    payload={},
                    status=status,
                    next_attempt_at=now + timedelta(days=1) if status == "pending" else null(),
                    last_attempt_at=tried_at,
                    created_at=now - timedelta(days=40),
                )
            )
    remove_old_deliveries(api.sessions)
    with api.sessions() as session:
        mine = select(WebhookDelivery.event_type).where(WebhookDelivery.endpoint_id == endpoint.id)
        assert set(session.scalars(mine)) == {"recent", "waiting"}


def test_an_endpoint_that_is_gone_is_told_nothing_more_until_it_is_enabled(
    api: Api, admin: Tenant, receiver: Receiver, sender: WebhookSender
) -> None:
    receiver.statuses = [410]
    endpoint = endpoint_at(admin, receiver)
    url = f"/v1/webhook_endpoints/{endpoint.id}"
    admin.openai.fine_tuning.jobs.cancel(admin.create_job()["id"])
    assert wait_for_attempt(admin, endpoint.id, 1)["status"] == "failed"
    assert admin.http.get(url).json()["enabled"] is False
    admin.openai.fine_tuning.jobs.cancel(admin.create_job()["id"])
    (delivery,) = deliveries(admin, endpoint.id)
    refused = admin.http.post(f"{url}/deliveries/{delivery['id']}/redeliver")
    refusal(refused, 400, None, "webhook_endpoint_disabled")
    assert admin.http.post(url, json={"enabled": True}).json()["enabled"] is True
    admin.openai.fine_tuning.jobs.cancel(admin.create_job()["id"])
    wait_for(lambda: deliveries(admin, endpoint.id)[0]["status"] == "delivered")


def test_a_sender_that_dies_costs_a_delay(api: Api, admin: Tenant, receiver: Receiver) -> None:
    endpoint = endpoint_at(admin, receiver)
    admin.openai.fine_tuning.jobs.cancel(admin.create_job()["id"])

    def claim() -> list[webhooks.Message]:
        with api.sessions.begin() as session:
            claimed = webhooks.claim_due(session, 100, 100, ())
            return [one for one in claimed if one.endpoint_id == endpoint.id]

    (first,) = claim()
    assert claim() == [], "two senders had it at once"
    make_due(api, first.delivery_id)
    (second,) = claim()
    assert second.payload == first.payload
    with api.sessions.begin() as session:
        webhooks.record_attempt(session, first, webhooks.Outcome(None, "it came back to life"))
    (delivery,) = deliveries(admin, endpoint.id)
    assert (delivery["attempts"], delivery["error"]) == (2, None)


def test_endpoints_that_hang_keep_no_other_project_waiting(
    api: Api, admin: Tenant, receiver: Receiver, sender: WebhookSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two projects have an endpoint that hangs for each of the sender's threads."""
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 300.0)
    hanging = [api.tenant(role=Role.ADMIN) for _ in range(2)]
    with socket.create_server(("127.0.0.1", 0), backlog=MAX_CONCURRENT) as never_answers:
        url = f"http://127.0.0.1:{never_answers.getsockname()[1]}/"
        ids = [
            project.openai.webhooks.create(name="hangs", url=url, event_types=EVENTS).id
            for project in hanging
            for _ in range(MAX_CONCURRENT // 2)
        ]
        for project in hanging:
            project.openai.fine_tuning.jobs.cancel(project.create_job()["id"])
        begun = select(func.count()).where(
            WebhookDelivery.endpoint_id.in_(ids), WebhookDelivery.attempts == 1
        )

        def all_that_may_have_begun() -> bool:
            with api.sessions() as session:
                return session.scalars(begun).one() >= 2 * MAX_PER_PROJECT

        wait_for(all_that_may_have_begun)
        endpoint = endpoint_at(admin, receiver)
        admin.openai.fine_tuning.jobs.cancel(admin.create_job()["id"])
        wait_for(lambda: deliveries(admin, endpoint.id)[0]["status"] == "delivered")


def test_both_secrets_sign_after_a_rotation_that_keeps_the_old_one(admin: Tenant, receiver: Receiver) -> None:
    client, endpoint = admin.openai.webhooks, endpoint_at(admin, receiver)
    renewed = client.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
    strictly(WebhookEndpointWithSecret, renewed.model_dump())
    client.test(endpoint.id, event_type="fine_tuning.job.succeeded")
    (sent,) = receiver.requests
    for secret in (endpoint.signing_secret, renewed.signing_secret):
        client.unwrap(sent.body, sent.headers, secret=secret)

    newest = client.rotate_secret(endpoint.id)
    client.test(endpoint.id, event_type="fine_tuning.job.succeeded")
    sent = receiver.requests[-1]
    client.unwrap(sent.body, sent.headers, secret=newest.signing_secret)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.unwrap(sent.body, sent.headers, secret=renewed.signing_secret)


def test_the_official_client_manages_endpoints(api: Api, admin: Tenant, receiver: Receiver) -> None:
    client = admin.openai.webhooks
    made = endpoint_at(admin, receiver)
    strictly(WebhookEndpointWithSecret, made.model_dump())
    strictly(WebhookEventTypeList, client.event_types.list().model_dump())
    shown = admin.http.get(f"/v1/webhook_endpoints/{made.id}").json()
    strictly(WebhookEndpoint, shown)
    assert made.signing_secret not in json.dumps(shown)
    changed = client.update(made.id, name="renamed", event_types=["fine_tuning.job.failed"])
    assert (changed.name, changed.url) == ("renamed", made.url)
    assert changed.event_types == ["fine_tuning.job.failed"]
    second = endpoint_at(admin, receiver)
    assert [endpoint.id for endpoint in client.list(limit=1)] == [second.id, made.id]

    receiver.statuses = [418]
    tested = client.test(made.id, event_type="fine_tuning.job.failed")
    strictly(WebhookEndpointTestResult, tested.model_dump())
    assert tested.status_code == 418
    assert deliveries(admin, made.id) == []

    strictly(DeletedWebhookEndpoint, client.delete(made.id).model_dump())
    with pytest.raises(openai.NotFoundError):
        client.retrieve(made.id)
    admin.openai.fine_tuning.jobs.cancel(admin.create_job()["id"])


def test_endpoints_are_the_administrators_and_their_secrets_stand_nowhere_in_clear(
    api: Api, admin: Tenant, receiver: Receiver
) -> None:
    endpoint = endpoint_at(admin, receiver)
    member: OpenAI = api.tenant(admin.project).openai
    with pytest.raises(openai.PermissionDeniedError):
        member.webhooks.list()
    with pytest.raises(openai.PermissionDeniedError):
        member.webhooks.delete(endpoint.id)
    with api.sessions() as session:
        rows = str(session.execute(text("SELECT * FROM webhook_endpoints")).all())
    assert endpoint.id in rows
    assert endpoint.signing_secret.removeprefix("whsec_") not in rows


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"url": "http://10.0.0.1/"}, "url", "invalid_url"),
        ({"url": "http://example.com/"}, "url", "invalid_url"),
        ({"url": "https://[::1]/"}, "url", "invalid_url"),
        ({"event_types": []}, "event_types", "invalid_value"),
        ({"event_types": ["batch.completed"]}, "event_types.0", "invalid_value"),
        ({"name": ""}, "name", "invalid_value"),
        ({"secret": "x"}, "secret", "unknown_parameter"),
    ],
)
def test_a_wrong_endpoint_is_refused_with_its_parameter(
    admin: Tenant, change: dict[str, Any], param: str, code: str
) -> None:
    body = {"name": "ours", "url": "https://example.com/", "event_types": EVENTS, **change}
    refusal(admin.http.post("/v1/webhook_endpoints", json=body), 400, param, code)


def test_a_test_of_an_endpoint_that_does_not_answer_says_why(admin: Tenant, closed_port: int) -> None:
    url = f"http://127.0.0.1:{closed_port}/"
    endpoint = admin.openai.webhooks.create(name="away", url=url, event_types=EVENTS)
    answer = admin.http.post(
        f"/v1/webhook_endpoints/{endpoint.id}/test", json={"event_type": "fine_tuning.job.failed"}
    )
    assert "refused" in refusal(answer, 400, None, "webhook_not_answered")["message"]


def test_the_command_line_manages_endpoints_and_deliveries(
    api: Api, admin: Tenant, receiver: Receiver, sender: WebhookSender, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, {"TUNERY_BASE_URL": api.url, "TUNERY_API_KEY": admin.key})
    made = shell.json("webhooks", "create", f"{receiver.url}/cli")
    admin.openai.fine_tuning.jobs.cancel(admin.create_job()["id"])
    wait_for_attempt(admin, made["id"], 1)
    (delivery,) = shell.json("webhooks", "deliveries", made["id"])
    assert delivery["status"] == "delivered"
    assert shell.json("webhooks", "redeliver", made["id"], delivery["id"])["status"] == "pending"
    wait_for(lambda: len(receiver.requests) == 2)
    assert shell.json("webhooks", "test", made["id"])["status_code"] == 200
    renewed = shell.run("webhooks", "rotate", made["id"]).stdout.strip()
    assert renewed.startswith("whsec_")
    assert renewed != made["signing_secret"]
    assert shell.json("webhooks", "update", made["id"], "--disable")["enabled"] is False
    (listed,) = shell.json("webhooks", "list")
    assert (listed["id"], listed["enabled"]) == (made["id"], False)
    assert shell.json("webhooks", "delete", made["id"])["deleted"] is True
