"""Requests that change something, while the API dies at one step after the other.

The client asks again, and each request is carried out once.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from core.roles import Role
from faults.checker import Client, check
from faults.history import record_history
from tests.fixtures.faults.crashing_api import CRASH_AT, CrashingApi, crashing_api
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, row, wait_for

pytestmark = pytest.mark.family(1)

JOBS, FILES = "/v1/fine_tuning/jobs", "/v1/files"
SWEEPS, UPLOADS, WEBHOOKS = "/v1/fine_tuning/sweeps", "/v1/uploads", "/v1/webhook_endpoints"
MOST_STEPS = 200
STRIDE = 17  # of the steps that `make test` tries; `--every-step` tries all


@dataclass
class Request:
    """A request, and what is there once it has been carried out exactly once."""

    method: str
    path: str
    there_once: Callable[[], bool]
    body: dict[str, Any] = field(default_factory=dict)
    """The arguments of httpx for the body: json, or data and files"""
    statuses: tuple[int, ...] = (200,)
    """The statuses that a second attempt may get: a job that is gone cannot be deleted twice"""


Make = Callable[[Client], Request]


@pytest.fixture(scope="module")
def recorded(api: Api) -> Api:
    with api.sessions.begin() as session:
        record_history(session)
    return api


@pytest.fixture
def dying(recorded: Api) -> Iterator[CrashingApi]:
    with crashing_api(recorded.settings) as dying:
        yield dying


def listed(tenant: Tenant, path: str) -> list[str]:
    return [each["id"] for each in tenant.http.get(path, params={"limit": 100}).json()["data"]]


def one_more(client: Client, path: str) -> Callable[[], bool]:
    before = listed(client.tenant, path)

    def there_once() -> bool:
        now = set(listed(client.tenant, path)) - set(before)
        if path == JOBS:
            client.jobs |= now
        if path == FILES:
            client.files |= now
        return len(now) == 1

    return there_once


def upload_a_file(client: Client) -> Request:
    rows = b"".join(json.dumps(row(f"{number}")).encode() + b"\n" for number in range(12))
    body = {"data": {"purpose": "fine-tune"}, "files": {"file": ("train.jsonl", rows)}}
    return Request("POST", FILES, one_more(client, FILES), body)


def complete_an_upload(client: Client) -> Request:
    http = client.tenant.http
    announced = {"bytes": 5, "filename": "a.txt", "mime_type": "text/plain", "purpose": "user_data"}
    upload = http.post(UPLOADS, json=announced).json()["id"]
    parts = [
        http.post(f"{UPLOADS}/{upload}/parts", files={"data": data}).json()["id"] for data in (b"he", b"llo")
    ]
    path = f"{UPLOADS}/{upload}/complete"
    return Request("POST", path, one_more(client, FILES), {"json": {"part_ids": parts}})


def create_a_job(client: Client) -> Request:
    body = {"model": BASE_MODEL, "training_file": client.tenant.upload()}
    return Request("POST", JOBS, one_more(client, JOBS), {"json": body})


def create_a_sweep(client: Client) -> Request:
    file = client.tenant.upload()
    body = {"model": BASE_MODEL, "training_file": file, "validation_file": file}
    body |= {"parameters": {"adapter.r": [4, 8]}}
    return Request("POST", SWEEPS, one_more(client, SWEEPS), {"json": body})


def register_a_webhook(client: Client) -> Request:
    url = f"{client.tenant.api.url}/healthz"
    body = {"name": "x", "url": url, "event_types": ["fine_tuning.job.succeeded"]}
    return Request("POST", WEBHOOKS, one_more(client, WEBHOOKS), {"json": body})


def create_an_api_key(client: Client) -> Request:
    path = f"/v1/organization/projects/{client.tenant.project_id}/api_keys"
    return Request("POST", path, one_more(client, path), {"json": {"name": "another"}})


def change_of_a_job(verb: str, status: str, *before: str) -> Make:
    def make(client: Client) -> Request:
        job = client.tenant.create_job()["id"]
        client.jobs.add(job)
        for earlier in before:
            assert client.tenant.http.post(f"{JOBS}/{job}/{earlier}").is_success
        path = f"{JOBS}/{job}/{verb}"
        return Request("POST", path, lambda: client.tenant.job(job)["status"] == status, statuses=(200, 400))

    return make


def delete_a_job(client: Client) -> Request:
    job = client.tenant.create_job()["id"]
    assert client.tenant.http.post(f"{JOBS}/{job}/cancel").is_success
    return Request(
        "DELETE", f"{JOBS}/{job}", lambda: job not in listed(client.tenant, JOBS), statuses=(200, 404)
    )


def delete_a_file(client: Client) -> Request:
    file = client.tenant.upload()
    return Request(
        "DELETE", f"{FILES}/{file}", lambda: file not in listed(client.tenant, FILES), statuses=(200, 404)
    )


REQUESTS: dict[str, Make] = {
    "upload a file": upload_a_file,
    "complete an upload": complete_an_upload,
    "create a job": create_a_job,
    "create a sweep": create_a_sweep,
    "register a webhook": register_a_webhook,
    "create an API key": create_an_api_key,
    "pause": change_of_a_job("pause", "paused"),
    "resume": change_of_a_job("resume", "queued", "pause"),
    "cancel": change_of_a_job("cancel", "cancelled"),
    "delete a job": delete_a_job,
    "delete a file": delete_a_file,
}


PLACES = (
    ("upload.stored", "upload a file"),
    ("request.carried_out", "upload a file"),
    ("upload.assembled", "complete an upload"),
    ("request.carried_out", "create a job"),
    ("job.committed", "create a job"),
    ("request.carried_out", "register a webhook"),
    ("pause.written", "pause"),
    ("job.cancelled", "cancel"),
    ("job.deleted", "delete a job"),
)


def ask(dying: CrashingApi, client: Client, request: Request, key: str, step: int | str) -> httpx.Response:
    """Send the request until it is answered. The API dies at `step` of the first attempt."""
    headers = {"authorization": f"Bearer {client.tenant.key}", "idempotency-key": key}
    kill = {CRASH_AT: str(step)}
    while True:
        try:
            url = dying.url + request.path
            return httpx.request(request.method, url, headers=headers | kill, timeout=60, **request.body)
        except httpx.TransportError:
            kill = {}
            wait_for(lambda: not dying.is_alive)  # its connections break a little before it is gone
            dying.start()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_carried_out_once_wherever_the_api_dies(
    recorded: Api, dying: CrashingApi, name: str, pytestconfig: pytest.Config
) -> None:
    client, other = Client(recorded.tenant(role=Role.ADMIN)), Client(recorded.tenant())
    other.jobs.add(other.tenant.create_job()["id"])
    stride = 1 if pytestconfig.getoption("every_step") else STRIDE
    deaths = 0
    for step in range(1 + list(REQUESTS).index(name) % min(stride, 5), MOST_STEPS, stride):
        request = REQUESTS[name](client)
        starts = dying.starts
        answer = ask(dying, client, request, f"{name} {step}", step)
        assert answer.status_code in request.statuses, (step, answer.text)
        assert request.there_once(), f"killed at step {step}"
        if dying.starts == starts:
            break
        deaths += 1
    assert deaths > 0
    check(recorded, [client, other])


@pytest.mark.exhaustive
def test_a_request_is_carried_out_once_if_the_api_dies_at_a_named_place(
    recorded: Api, dying: CrashingApi
) -> None:
    client = Client(recorded.tenant(role=Role.ADMIN))
    for place, name in PLACES:
        request = REQUESTS[name](client)
        starts = dying.starts
        answer = ask(dying, client, request, f"{place} {name}", place)
        assert dying.starts == starts + 1, f"nothing reached {place}"
        assert answer.status_code in request.statuses, (place, answer.text)
        assert request.there_once(), f"killed at {place}"
    check(recorded, [client])
