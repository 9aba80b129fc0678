"""A request that arrives twice creates once, whoever repeats it and whatever dies in between."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from core.access.audit import Actor
from core.access.idempotency import Attempt, for_good, once
from core.roles import Role
from core.tables import IdempotencyRecord
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal
from tests.fixtures.service.janitor import clean
from worker.supervisor.retention import remove_old_idempotency_records

JOBS = "/v1/fine_tuning/jobs"


def create(
    tenant: Tenant, url: str = "", *, retry: int = 0, key: str | None = None, **body: Any
) -> httpx.Response:
    headers = {"x-stainless-retry-count": str(retry)} | ({"idempotency-key": key} if key else {})
    return tenant.http.post(url + JOBS, json={"model": BASE_MODEL, **body}, headers=headers)


def jobs(tenant: Tenant) -> list[str]:
    return [job["id"] for job in tenant.http.get(JOBS, params={"limit": 1000}).json()["data"]]


@pytest.fixture
def tenant(api: Api) -> Tenant:
    return api.tenant()


@pytest.fixture(scope="module")
def second_api(api: Api) -> Iterator[Api]:
    """Another API on the same database."""
    with api.beside() as second:
        yield second


# With the header


def test_the_same_key_and_body_get_the_same_answer(api: Api, tenant: Tenant) -> None:
    file_id = tenant.upload()
    first = create(tenant, key="one", training_file=file_id)
    tenant.http.post(f"{JOBS}/{first.json()['id']}/cancel")
    again = create(tenant, key="one", training_file=file_id)
    assert (again.status_code, again.json()) == (200, first.json())
    assert len(jobs(tenant)) == 1
    assert create(tenant, key="two", training_file=file_id).json()["id"] != first.json()["id"]


def test_the_same_key_with_another_body_is_refused_for_good(tenant: Tenant) -> None:
    file_id = tenant.upload()
    create(tenant, key="one", training_file=file_id)
    answer = create(tenant, key="one", training_file=file_id, seed=2)
    refusal(answer, 409, None, "idempotency_key_reused")
    assert answer.headers["x-should-retry"] == "false"
    assert len(jobs(tenant)) == 1


def test_a_key_belongs_to_its_project(api: Api, tenant: Tenant) -> None:
    other = api.tenant()
    ids = {create(owner, key="one", training_file=owner.upload()).json()["id"] for owner in (tenant, other)}
    assert len(ids) == 2


def test_a_key_that_another_project_is_using_is_not_awaited(api: Api, tenant: Tenant) -> None:
    other = api.tenant()
    file_id = other.upload()
    with api.sessions() as session:
        attempt = Attempt(Actor(tenant.project_id), "POST /somewhere", "one", 0, time.monotonic(), "")
        once(session, attempt, "something", lambda: {"id": "of a transaction that goes on"}, for_good)
        other.http.timeout = 5
        assert create(other, key="one", training_file=file_id).is_success


def test_a_refused_request_leaves_its_key_free(tenant: Tenant) -> None:
    refusal(create(tenant, key="one", training_file="file-0"), 400, "training_file")
    assert create(tenant, key="one", training_file=tenant.upload()).is_success


def test_a_key_that_cannot_be_one_is_named(tenant: Tenant) -> None:
    answer = create(tenant, key="x" * 256, training_file=tenant.upload())
    refusal(answer, 400, "idempotency-key", "invalid_value")


def test_requests_at_once_through_two_servers_create_one(tenant: Tenant, second_api: Api) -> None:
    file_id = tenant.upload()

    def attempt(number: int) -> str:
        url = second_api.url if number % 2 else ""
        return str(create(tenant, url, key="one", training_file=file_id).json()["id"])

    with ThreadPoolExecutor(12) as pool:
        ids = set(pool.map(attempt, range(24)))
    assert len(ids) == 1
    assert jobs(tenant) == list(ids)


def test_a_file_sent_twice_under_one_key_is_stored_once(api: Api, tenant: Tenant) -> None:
    clean(api)
    stored = set(api.store.list("files/"))
    answers = [
        tenant.http.post(
            "/v1/files",
            headers={"idempotency-key": "file"},
            data={"purpose": "user_data"},
            files={"file": ("a.txt", b"the same")},
        ).json()
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    clean(api)
    assert {key.rpartition("/")[2] for key in set(api.store.list("files/")) - stored} == {answers[0]["id"]}


@pytest.mark.parametrize("header", [{"x-stainless-retry-count": "1"}, {"idempotency-key": "cancel"}])
def test_a_cancel_whose_answer_was_lost_gets_it(tenant: Tenant, header: dict[str, str]) -> None:
    path = f"{JOBS}/{tenant.create_job()['id']}/cancel"
    first = tenant.http.post(path, headers={key: value.replace("1", "0") for key, value in header.items()})
    again = tenant.http.post(path, headers=header)
    assert (again.status_code, again.json()) == (200, first.json())
    refusal(tenant.http.post(path), 400, None)


def test_records_are_kept_for_a_day(api: Api, tenant: Tenant) -> None:
    file_id = tenant.upload()
    old, young = (create(tenant, key=key, training_file=file_id).json()["id"] for key in ("old", "young"))
    with api.sessions.begin() as session:
        record = update(IdempotencyRecord).where(IdempotencyRecord.project_id == tenant.project_id)
        for key, hours in (("old", 25), ("young", 23)):
            mine = record.where(IdempotencyRecord.idempotency_key == key)
            session.execute(mine.values(created_at=func.now() - timedelta(hours=hours)))
    remove_old_idempotency_records(api.sessions)
    assert create(tenant, key="young", training_file=file_id).json()["id"] == young
    assert create(tenant, key="old", training_file=file_id).json()["id"] != old


# Answers that hold a secret


WEBHOOK = {"name": "x", "url": "https://example.com", "event_types": ["fine_tuning.job.succeeded"]}


def secret_requests(admin: Tenant) -> dict[str, tuple[str, dict[str, Any] | None, str]]:
    """Return the requests whose answers show a secret: the path, the body, and the field of the secret."""
    endpoint = admin.http.post("/v1/webhook_endpoints", json=WEBHOOK).json()["id"]
    return {
        "webhook": ("/v1/webhook_endpoints", WEBHOOK, "signing_secret"),
        "rotation": (f"/v1/webhook_endpoints/{endpoint}/rotate_secret", {}, "signing_secret"),
        "API key": (f"/v1/organization/projects/{admin.project_id}/api_keys", {"name": "new"}, "value"),
        "sign-in link": ("/v1/session/links", None, "path"),
    }


def records_of(tenant: Tenant) -> str:
    with tenant.api.sessions() as session:
        mine = IdempotencyRecord.project_id == tenant.project_id
        return str(list(session.scalars(select(IdempotencyRecord.answer).where(mine))))


@pytest.fixture
def admin(api: Api) -> Tenant:
    return api.tenant(role=Role.ADMIN)


@pytest.mark.parametrize("name", ["webhook", "rotation", "API key", "sign-in link"])
@pytest.mark.parametrize("header", [{"x-stainless-retry-count": "1"}, {"idempotency-key": "secret"}])
def test_an_answer_with_a_secret_is_repeated_and_nothing_stored_shows_the_secret(
    admin: Tenant, name: str, header: dict[str, str]
) -> None:
    path, body, field = secret_requests(admin)[name]
    first = admin.http.post(
        path, json=body, headers={key: value.replace("1", "0") for key, value in header.items()}
    )
    again = admin.http.post(path, json=body, headers=header)
    assert (again.status_code, again.json()) == (200, first.json())
    secret = first.json()[field].split("link=")[-1]
    records = records_of(admin)
    assert "sealed" in records
    assert len(secret) > 40
    assert secret not in records


def test_an_answer_with_a_secret_is_shown_to_no_other_session_of_the_same_key(admin: Tenant) -> None:
    def session() -> dict[str, str]:
        with httpx.Client(base_url=admin.api.url, headers={"x-tunery-dashboard": "1"}) as browser:
            assert browser.post("/v1/sign_in", json={"api_key": admin.key}).is_success
            return {"cookie": f"tunery_session={browser.cookies['tunery_session']}"}

    def ask(session: dict[str, str]) -> httpx.Response:
        headers = {"x-tunery-dashboard": "1", "idempotency-key": "one", **session}
        return httpx.post(f"{admin.api.url}/v1/webhook_endpoints", json=WEBHOOK, headers=headers)

    mine, another = session(), session()
    first = ask(mine)
    assert ask(mine).json() == first.json()
    refusal(ask(another), 409, None, "answer_of_another_session")
    assert len(admin.http.get("/v1/webhook_endpoints").json()["data"]) == 1


# Without it: the official client's count of retries


def test_equal_first_attempts_are_two_requests(tenant: Tenant) -> None:
    file_id = tenant.upload()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: create(tenant, training_file=file_id), range(4)))
    assert len({answer.json()["id"] for answer in answers}) == 4


def test_a_retry_gets_the_job_of_the_attempt_before_it(tenant: Tenant) -> None:
    file_id = tenant.upload()
    first = create(tenant, training_file=file_id)
    retries = [create(tenant, retry=count, training_file=file_id).json() for count in (1, 2)]
    assert retries == [first.json()] * 2
    assert create(tenant, retry=1, training_file=file_id, seed=1).json()["id"] != first.json()["id"]


def test_a_first_attempt_that_a_retry_overtook_creates_nothing(api: Api, tenant: Tenant) -> None:
    """It was held up on its way to the database, and its client gave up and asked again.

    This holds even if what the retry created is gone by then.
    """
    actor = Actor(tenant.project_id)

    def attempt(arrived: float, retry_count: int, would_create: str) -> str:
        with api.sessions.begin() as session:
            this = Attempt(actor, "POST /somewhere", None, retry_count, arrived, "")
            create, stands = (lambda: {"id": would_create}), (lambda *_: False)
            return str(once(session, this, "something", create, stands)["id"])

    arrived = time.monotonic() - 1
    assert attempt(time.monotonic(), 1, "of the retry") == "of the retry"
    assert attempt(arrived, 0, "of the late first attempt") == "of the retry"
    assert attempt(time.monotonic(), 0, "of a new request") == "of a new request"


def test_a_retried_deletion_deletes_what_was_created_since_the_one_before(admin: Tenant) -> None:
    """Its first try was refused, for example because the server was busy."""
    path = "/v1/secrets/WANDB_API_KEY"
    for retries in "01":
        assert admin.http.post(
            "/v1/secrets", json={"name": "WANDB_API_KEY", "value": "hidden-value"}
        ).is_success
        assert admin.http.delete(path, headers={"x-stainless-retry-count": retries}).is_success
        assert admin.http.get("/v1/secrets").json()["data"] == []
    repeated = admin.http.delete(path, headers={"x-stainless-retry-count": "2"})
    assert (repeated.status_code, repeated.json()["deleted"]) == (200, True)
    refusal(admin.http.delete(path), 404, "secret_name", "secret_not_found")
