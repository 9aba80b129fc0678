"""Projects, keys, the audit log and usage, through the official client where it has the methods."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import openai
import pytest
from openai import OpenAI
from openai.types.admin.organization import Project
from openai.types.admin.organization.projects import ProjectAPIKey
from sqlalchemy import update

from core.jobs import lifecycle
from core.roles import Role
from core.tables import Claim, Job
from tests.fixtures.service.api import Api, Tenant, refusal, strictly

PROJECTS = "/v1/organization/projects"
DAY = 24 * 3600  # seconds


@pytest.fixture(scope="module")
def operator(api: Api) -> Tenant:
    return api.tenant("default", Role.ADMIN)


@pytest.fixture
def admin(api: Api) -> Tenant:
    """Return an administrator of a project of its own."""
    return api.tenant(role=Role.ADMIN)


@pytest.fixture
def client(operator: Tenant) -> Iterator[OpenAI]:
    """Return the official client with the operator's key."""
    url = f"{operator.api.url}/v1"
    with OpenAI(base_url=url, api_key=operator.key, admin_api_key=operator.key, max_retries=0) as client:
        yield client


def audit(tenant: Tenant, **filters: Any) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = tenant.http.get("/v1/organization/audit_logs", params=filters).json()[
        "data"
    ]
    return entries


# Projects


def test_the_operator_makes_projects_and_pages_through_them(api: Api, client: OpenAI) -> None:
    names = [f"made-{uuid4().hex[:8]}-{number}" for number in range(3)]
    made = {client.admin.organization.projects.create(name=name).id for name in names}
    found = list(client.admin.organization.projects.list(limit=2))
    assert made <= {project.id for project in found}
    for project in found:
        strictly(Project, project.to_dict())
    assert client.admin.organization.projects.retrieve(found[0].id).name == found[0].name
    with pytest.raises(openai.ConflictError):
        client.admin.organization.projects.create(name=names[0])


def test_an_admin_sees_their_project_alone(admin: Tenant, operator: Tenant) -> None:
    listed = admin.http.get(PROJECTS).json()["data"]
    assert [project["id"] for project in listed] == [admin.project_id]
    refusal(admin.http.get(f"{PROJECTS}/{operator.project_id}"), 404, "project_id", "project_not_found")
    refusal(admin.http.post(PROJECTS, json={"name": "another"}), 403, None, "insufficient_permissions")


def test_the_operator_sets_quotas_and_takes_them_back(admin: Tenant, operator: Tenant) -> None:
    url = f"{PROJECTS}/{admin.project_id}"
    operator.http.post(url, json={"quotas": {"queued_jobs": 3, "stored_bytes": 10**12}})
    operator.http.post(url, json={"quotas": {"queued_jobs": None, "running_jobs": 0}})
    quotas = admin.http.get(url).json()["quotas"]
    assert quotas["queued_jobs"] is None
    assert {name: most for name, most in quotas.items() if most is not None} == {
        "running_jobs": 0,
        "stored_bytes": 10**12,
    }
    wrong = operator.http.post(url, json={"quotas": {"jobs": 3}})
    refusal(wrong, 400, "quotas.jobs", "unknown_parameter")


# Keys


def test_a_key_is_made_used_listed_without_its_secret_and_revoked(api: Api, admin: Tenant) -> None:
    url = f"{PROJECTS}/{admin.project_id}/api_keys"
    made = admin.http.post(url, json={"name": "laptop", "role": "read-only", "expires_in_seconds": 3600})
    key = made.json()
    assert key["expires_at"] - key["created_at"] == pytest.approx(3600, abs=5)
    with OpenAI(base_url=f"{api.url}/v1", api_key=key["value"], admin_api_key=admin.key) as client:
        client.files.list()
        with pytest.raises(openai.PermissionDeniedError):
            client.files.create(file=("a.txt", b"x"), purpose="user_data")
        keys = client.admin.organization.projects.api_keys
        listed = keys.list(admin.project_id).data
        assert {found.id for found in listed} == {key["id"], admin.key.split("_")[1]}
        for found in listed:
            strictly(ProjectAPIKey, found.to_dict())
        assert key["value"] not in admin.http.get(url).text
        assert keys.delete(key["id"], project_id=admin.project_id).deleted
        with pytest.raises(openai.AuthenticationError):
            client.files.list()
        with pytest.raises(openai.NotFoundError):
            keys.retrieve(key["id"], project_id=admin.project_id)


# The audit log


def test_what_was_done_stands_in_the_log_with_who_and_when(api: Api, admin: Tenant) -> None:
    made = admin.http.post("/v1/files", files={"file": ("a.txt", b"x")}, data={"purpose": "user_data"})
    file_id = made.json()["id"]
    job_id = admin.create_job()["id"]
    for action in ("pause", "resume", "cancel"):
        admin.http.post(f"/v1/fine_tuning/jobs/{job_id}/{action}")
    deleted = admin.http.delete(f"/v1/files/{file_id}", headers={"x-request-id": "req_of-the-deletion"})
    assert deleted.is_success
    refusal(admin.http.delete(f"/v1/files/{file_id}"), 404, "id")

    entries = audit(admin)
    assert [(entry["type"], entry["resource_id"]) for entry in entries][:5] == [
        ("file.deleted", file_id),
        ("job.cancelled", job_id),
        ("job.resumed", job_id),
        ("job.paused", job_id),
        ("job.created", job_id),
    ]
    newest, oldest = entries[0], entries[-1]
    assert newest["request_id"] == "req_of-the-deletion"
    assert newest["actor"] == {"type": "api_key", "api_key": {"id": admin.key.split("_")[1]}}
    assert (oldest["type"], oldest["actor"]["type"]) == ("project.created", "operator")

    pages, after = [], None
    while page := audit(admin, limit=2, **({"after": after} if after else {})):
        pages += page
        after = page[-1]["id"]
    assert pages == entries


def test_a_redelivery_stands_in_the_log(admin: Tenant) -> None:
    wanted = {"name": "x", "url": "https://example.com", "event_types": ["fine_tuning.job.cancelled"]}
    endpoint = f"/v1/webhook_endpoints/{admin.http.post('/v1/webhook_endpoints', json=wanted).json()['id']}"
    admin.http.post(f"/v1/fine_tuning/jobs/{admin.create_job()['id']}/cancel")
    (delivery,) = admin.http.get(f"{endpoint}/deliveries").json()["data"]
    assert admin.http.post(f"{endpoint}/deliveries/{delivery['id']}/redeliver").is_success
    newest = audit(admin)[0]
    assert (newest["type"], newest["resource_id"]) == ("webhook_delivery.redelivered", delivery["id"])


def test_the_log_of_a_project_has_what_the_operator_did_in_it(admin: Tenant, operator: Tenant) -> None:
    project = admin.project_id
    key = operator.http.post(f"{PROJECTS}/{project}/api_keys", json={"name": "x"}).json()
    assert audit(admin)[0]["resource_id"] == key["id"]
    assert audit(operator, project_id=project)[0]["actor"]["api_key"]["id"] == operator.key.split("_")[1]
    refused = admin.http.get("/v1/organization/audit_logs", params={"project_id": operator.project_id})
    refusal(refused, 404, "project_id", "project_not_found")


# Usage


def test_usage_counts_tokens_and_the_time_of_every_claim_on_its_days(
    api: Api, admin: Tenant, adapter_folder: Any
) -> None:
    """Make a claim on two devices, for two hours around a midnight."""
    job_id = admin.create_job(training={"devices": 2})["id"]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    with api.sessions.begin() as session:
        lease = lifecycle.claim(session, "a test", 60.0, devices=2)
        assert lease is not None
    assert lease.job_id == job_id
    api.finish(lease, adapter_folder)
    hour = timedelta(hours=1)
    with api.sessions.begin() as session:
        session.execute(
            update(Claim)
            .where(Claim.job_id == job_id)
            .values(started_at=midnight - hour, ended_at=midnight + hour)
        )
        session.execute(update(Job).where(Job.id == job_id).values(finished_at=midnight + hour))

    asked = {"start_time": int(midnight.timestamp()) - 1, "end_time": int(midnight.timestamp()) + 1}
    page = admin.http.get("/v1/organization/usage/fine_tuning", params=asked).json()
    used = [
        [(result["trained_tokens"], result["device_seconds"]) for result in bucket["results"]]
        for bucket in page["data"]
    ]
    assert used == [[(0, 7200.0)], [(1234, 7200.0)]]
    assert [bucket["end_time"] - bucket["start_time"] for bucket in page["data"]] == [24 * 3600] * 2
    assert len(admin.http.get("/v1/organization/usage/fine_tuning").json()["data"]) == 31
    wrong = admin.http.get("/v1/organization/usage/fine_tuning", params={"start_time": 5, "end_time": 3})
    refusal(wrong, 400, "start_time", "invalid_value")


def test_a_long_span_of_usage_comes_in_pages_of_days(admin: Tenant) -> None:
    path, asked = "/v1/organization/usage/fine_tuning", {"start_time": 0, "end_time": 70 * DAY}
    pages = [admin.http.get(path, params=asked).json()]
    while cursor := pages[-1]["next_page"]:
        pages.append(admin.http.get(path, params=asked | {"page": cursor}).json())
    starts = [bucket["start_time"] for page in pages for bucket in page["data"]]
    assert starts == [number * DAY for number in range(70)]
    assert [len(page["data"]) for page in pages] == [31, 31, 8]
    assert [page["has_more"] for page in pages] == [True, True, False]
    for wrong in ("page_1969-12-31", "page_1970-03-12", "page_1970-02-31", "tomorrow"):
        refusal(admin.http.get(path, params=asked | {"page": wrong}), 400, "page", "invalid_value")


def test_the_official_client_reads_the_usage_of_chats_page_by_page(client: OpenAI) -> None:
    usage = client.admin.organization.usage
    first = usage.completions(start_time=0, end_time=3 * DAY, limit=2)
    assert (len(first.data), first.has_more) == (2, True)
    rest = usage.completions(start_time=0, end_time=3 * DAY, limit=2, page=first.next_page)
    assert (len(rest.data), rest.has_more, rest.next_page) == (1, False, None)
