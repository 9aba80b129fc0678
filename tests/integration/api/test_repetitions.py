"""A retry gets the answer of its first try, or is carried out if its first try was refused.

The count of OpenAI's client alone does not tell the two apart: an equal request may have been carried out
before. Where a test undoes what the equal request did, the retry after it is one whose first try was refused.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.errors import JobError
from core.roles import Role
from core.tables import Project
from core.work import lease as leases
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal
from tests.fixtures.work.evals_api import EVAL, EVALS, ROWS, make_eval, make_run
from tests.fixtures.work.portability import finish_measurement
from tests.fixtures.work.taking import take

FIRST, RETRY = {"x-stainless-retry-count": "0"}, {"x-stainless-retry-count": "1"}
KEY = {"idempotency-key": "one"}
FILES, JOBS, UPLOADS = "/v1/files", "/v1/fine_tuning/jobs", "/v1/uploads"
WEBHOOKS, LINKS = "/v1/webhook_endpoints", "/v1/session/links"
WEBHOOK = {"name": "x", "url": "https://example.com", "event_types": ["fine_tuning.job.failed"]}
MEBIBYTE = 1024**2

# Sends a request with these headers
Ask = Callable[[dict[str, str]], httpx.Response]


@pytest.fixture
def admin(api: Api) -> Tenant:
    return api.tenant(role=Role.ADMIN)


def upload(tenant: Tenant, content: bytes) -> Ask:
    data, files = {"purpose": "user_data"}, {"file": ("a.txt", content)}
    return lambda headers: tenant.http.post(FILES, data=data, files=files, headers=headers)


def posting(tenant: Tenant, path: str, body: Any = None) -> Ask:
    return lambda headers: tenant.http.post(path, json=body, headers=headers)


def id_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


# Cancels of tasks

TASKS = ("check", "conversion", "eval run", "export", "composition", "portability")


def started(api: Api, tenant: Tenant, task: str, folder: Path) -> str:
    """Start a task, and return its path."""

    def adapter() -> str:
        return api.finish(api.claim(tenant.create_job()["id"]), folder)

    def begin(path: str, body: Any) -> str:
        return id_of(posting(tenant, path, body)({}))

    if task in ("check", "conversion"):
        of_file = f"{FILES}/{tenant.upload()}"
        verb = {"check": "check", "conversion": "convert"}[task]
        return f"{of_file}/{task}s/{begin(f'{of_file}/{verb}', {})}"
    if task == "eval run":
        eval_id = make_eval(tenant)
        return f"{EVALS}/{eval_id}/runs/{make_run(tenant, eval_id)}"
    if task == "composition":
        parts = [{"adapter": adapter()} for _ in range(2)]
        return f"/v1/adapters/compositions/{begin('/v1/adapters/compose', {'adapters': parts})}"
    of_adapter = f"/v1/adapters/{adapter()}"
    if task == "export":
        return f"{of_adapter}/exports/{begin(f'{of_adapter}/exports', {'format': 'merged'})}"
    assert tenant.http.post(f"{of_adapter}/portability").is_success
    return f"{of_adapter}/portability"


@pytest.mark.parametrize("task", TASKS)
def test_a_cancel_whose_answer_was_lost_gets_it(
    api: Api, admin: Tenant, adapter_folder: Path, task: str
) -> None:
    cancel = posting(admin, f"{started(api, admin, task, adapter_folder)}/cancel")
    first = cancel(FIRST)
    assert first.status_code == 200, first.text
    retried = cancel(RETRY)
    assert (retried.status_code, retried.json()) == (200, first.json())
    refusal(cancel(FIRST), 409, code="task_ended")


@pytest.mark.parametrize("task", TASKS)
def test_a_cancel_with_a_key_is_repeated_by_its_key(
    api: Api, admin: Tenant, adapter_folder: Path, task: str
) -> None:
    cancel = posting(admin, f"{started(api, admin, task, adapter_folder)}/cancel")
    first, again = cancel(KEY), cancel(KEY)
    assert (again.status_code, again.json()) == (200, first.json())


# Creations


def creation(tenant: Tenant, kind: str) -> tuple[Ask, str]:
    """Return the request that creates one, and the path at which it is deleted."""
    if kind == "file":
        return upload(tenant, b"rows"), FILES
    if kind == "job":
        body = {"model": BASE_MODEL, "training_file": tenant.upload()}
        return posting(tenant, JOBS, body), JOBS
    if kind == "eval":
        return posting(tenant, EVALS, EVAL), EVALS
    if kind == "eval run":
        runs = f"{EVALS}/{make_eval(tenant)}/runs"
        return posting(tenant, runs, {"data_source": ROWS}), runs
    if kind == "webhook":
        return posting(tenant, WEBHOOKS, WEBHOOK), WEBHOOKS
    keys = f"/v1/organization/projects/{tenant.project_id}/api_keys"
    return posting(tenant, keys, {"name": "new"}), keys


def delete(tenant: Tenant, path: str) -> None:
    tenant.http.post(f"{path}/cancel")  # what has not ended cannot be deleted
    assert tenant.http.delete(path).is_success


@pytest.mark.parametrize("kind", ["file", "job", "eval", "eval run", "webhook", "API key"])
def test_a_retry_whose_first_try_was_refused_creates_anew_what_was_deleted(admin: Tenant, kind: str) -> None:
    create, path = creation(admin, kind)
    deleted = id_of(create(FIRST))
    delete(admin, f"{path}/{deleted}")
    made = id_of(create(RETRY))
    assert made != deleted
    assert admin.http.get(f"{path}/{made}").is_success
    assert id_of(create(RETRY)) == made


def test_the_bytes_of_a_retried_upload_stay_though_an_equal_file_was_deleted(admin: Tenant) -> None:
    send = upload(admin, b"the same rows")
    delete(admin, f"{FILES}/{id_of(send(FIRST))}")
    assert admin.http.get(f"{FILES}/{id_of(send(RETRY))}/content").content == b"the same rows"


def test_a_key_names_one_creation_for_good(admin: Tenant) -> None:
    create, path = creation(admin, "file")
    first = create(KEY)
    delete(admin, f"{path}/{id_of(first)}")
    assert create(KEY).json() == first.json()


def test_a_retried_upload_of_parts_is_announced_anew_if_the_equal_one_has_ended(admin: Tenant) -> None:
    body = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
    announce = posting(admin, UPLOADS, body)
    cancelled = id_of(announce(FIRST))
    assert admin.http.post(f"{UPLOADS}/{cancelled}/cancel").is_success
    assert id_of(announce(RETRY)) != cancelled


def test_a_retried_sign_in_link_can_be_followed_though_an_equal_one_was_used(admin: Tenant) -> None:
    def follow(link: httpx.Response) -> httpx.Response:
        token = link.json()["path"].split("link=")[1]
        own = {"x-tunery-dashboard": "1"}
        return httpx.post(f"{admin.api.url}/v1/sign_in", json={"link": token}, headers=own)

    create = posting(admin, LINKS)
    assert follow(create(FIRST)).is_success
    link = create(RETRY)
    assert create(RETRY).json() == link.json()
    assert follow(link).is_success


@pytest.mark.parametrize("header", [RETRY, KEY])
def test_a_repeated_upload_is_not_refused_for_the_room_that_its_first_try_took(
    api: Api, admin: Tenant, header: dict[str, str]
) -> None:
    with api.sessions.begin() as session:
        session.get_one(Project, admin.project_id).max_stored_bytes = 3 * MEBIBYTE
    send = upload(admin, b"x" * (5 * MEBIBYTE // 2))
    first = send(FIRST if header is RETRY else header)
    assert first.status_code == 200, first.text
    again = send(header)
    assert (again.status_code, again.json()) == (200, first.json())
    other = upload(admin, b"y" * (5 * MEBIBYTE // 2))
    refusal(other(RETRY), 429, "file", "insufficient_quota")


# Requests that change a state: they create nothing


def test_a_retried_rotation_shows_a_secret_that_signs(admin: Tenant) -> None:
    webhook = f"{WEBHOOKS}/{id_of(creation(admin, 'webhook')[0]({}))}"
    rotate = posting(admin, f"{webhook}/rotate_secret", {})
    keeping = posting(admin, f"{webhook}/rotate_secret", {"keep_old_secret_active_for_24_hours": True})
    former = rotate(FIRST).json()
    assert rotate(RETRY).json() == former
    assert keeping(FIRST).is_success
    renewed = rotate(RETRY).json()
    assert renewed["signing_secret"] != former["signing_secret"]
    assert admin.http.get(webhook).json()["signing_secret_hint"] == renewed["signing_secret_hint"]


def test_a_retry_starts_another_measurement_only_if_the_equal_one_was_cancelled_or_failed(
    api: Api, admin: Tenant, adapter_folder: Path
) -> None:
    path = started(api, admin, "portability", adapter_folder)
    start = posting(admin, path)

    def asked(headers: dict[str, str]) -> str:
        return str(start(headers).json()["measurement"]["id"])

    first = asked(FIRST)
    assert asked(RETRY) == first
    finish_measurement(api, first)
    assert asked(RETRY) == first, "its answer was lost while it was made"
    assert admin.http.get(path).json()["measurement"]["id"] == first
    cancelled = asked(FIRST)
    assert cancelled != first
    assert admin.http.post(f"{path}/cancel").is_success
    failed = asked(RETRY)
    assert failed != cancelled
    with api.sessions.begin() as session:
        leases.fail(session, take(api, failed), JobError("not_finite", "Infinite."))
    assert asked(RETRY) != failed
    assert admin.http.post(f"{path}/cancel").is_success
