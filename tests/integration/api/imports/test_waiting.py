"""A request that imports waits for a worker. Whatever ends it, nothing is imported twice."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from core.errors import JobError
from core.tables import AuditLog, File
from core.work import lease as leases
from core.work.kinds import IMPORT
from tests.fixtures.faults.crashing_api import CrashingApi, crashing_api
from tests.fixtures.models.tiny import TINY, write_base
from tests.fixtures.service.api import Api, Tenant, running_api, wait_for
from tests.fixtures.service.stack import job_api_on
from tests.fixtures.work.imports import (
    WaitingImport,
    answer_on,
    import_tasks,
    importing_worker,
    new_zip,
    sent,
    warm_reading,
    work_on,
)
from tests.fixtures.work.taking import take

KEY = {"Idempotency-Key": "once"}


@pytest.fixture(scope="module")
def api(servers: Any, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    catalog, home = write_base(tmp_path_factory.mktemp("base")), tmp_path_factory.mktemp("home")
    with job_api_on(servers, database_url, catalog_file=catalog, home=home, key_trust_seconds=0) as api:
        yield api


@pytest.fixture(scope="module")
def content(api: Api, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return new_zip(api, tmp_path_factory.mktemp("adapter"))


@pytest.fixture
def tenant(api: Api) -> Tenant:
    return api.tenant()


@pytest.fixture
def body(tenant: Tenant, content: bytes) -> dict[str, Any]:
    return {"file": tenant.upload(content, "user_data", "adapter.zip"), "base_model": TINY}


@pytest.fixture
def dying(api: Api) -> Iterator[CrashingApi]:
    with crashing_api(api.settings) as dying:
        yield dying


def adapters(tenant: Tenant) -> list[str]:
    return [each["id"] for each in tenant.http.get("/v1/adapters").json()["data"]]


def import_next(tenant: Tenant, task_id: str) -> None:
    with warm_reading():
        work_on(tenant.api, take(tenant.api, task_id))


@pytest.mark.exhaustive
def test_an_import_whose_client_leaves_is_cancelled_and_may_be_tried_again(
    api: Api, tenant: Tenant, body: dict[str, Any]
) -> None:
    WaitingImport(tenant, body, **KEY).leave()
    again = WaitingImport(tenant, body, **KEY)
    import_next(tenant, again.task_id)
    status, adapter = again.answer()
    assert (status, adapters(tenant)) == (200, [adapter["id"]])
    assert list(import_tasks(tenant).values()) == ["cancelled", "succeeded"]


def test_equal_requests_wait_for_one_import(tenant: Tenant, body: dict[str, Any]) -> None:
    """The one whose client stays begins the import anew when the other client leaves."""
    first = WaitingImport(tenant, body, **KEY)
    second = sent(tenant.api.url, tenant, body, **KEY)
    third = sent(tenant.api.url, tenant, body, **KEY)
    first.leave()
    with importing_worker(tenant.api):
        answers = [answer_on(each) for each in (second, third)]
    assert answers[0] == answers[1]
    assert answers[0][0] == 200
    assert list(import_tasks(tenant).values()) == ["cancelled", "succeeded"]
    assert adapters(tenant) == [answers[0][1]["id"]]


def test_an_import_that_no_worker_takes_is_refused_and_may_be_tried_again(
    api: Api, tenant: Tenant, body: dict[str, Any]
) -> None:
    impatient_settings = api.settings.model_copy(update={"chat_wait_seconds": 0.0})
    with running_api(impatient_settings, api.sessions) as impatient:
        status, answer = answer_on(sent(impatient.url, tenant, body, **KEY))
    assert (status, answer["error"]["code"]) == (503, "unavailable")
    assert "No worker has taken the import within 5 s" in answer["error"]["message"]
    assert list(import_tasks(tenant).values()) == ["cancelled"]
    with importing_worker(api):
        status, adapter = answer_on(sent(api.url, tenant, body, **KEY))
    assert (status, adapters(tenant)) == (200, [adapter["id"]])


def test_a_project_has_one_import_under_way_and_others_of_it_wait(
    api: Api, tenant: Tenant, body: dict[str, Any], content: bytes
) -> None:
    first, second = WaitingImport(tenant, body), WaitingImport(tenant, body | {"suffix": "second"})
    lease = take(api, first.task_id)
    with api.sessions.begin() as session:
        assert leases.take(session, "another worker", [IMPORT.name]) is None
    other = api.tenant()
    file_id = other.upload(content, "user_data", "adapter.zip")
    of_other = WaitingImport(other, {"file": file_id, "base_model": TINY})
    import_next(other, of_other.task_id)
    assert of_other.answer()[0] == 200
    with warm_reading():
        work_on(api, lease)
    assert first.answer()[0] == 200
    import_next(tenant, second.task_id)
    assert second.answer()[0] == 200


def test_an_import_that_waits_too_long_for_others_of_its_project_is_told_when_to_come_back(
    api: Api, tenant: Tenant, body: dict[str, Any]
) -> None:
    first = WaitingImport(tenant, body)
    take(api, first.task_id)
    impatient_settings = api.settings.model_copy(update={"chat_wait_seconds": 0.0})
    with running_api(impatient_settings, api.sessions) as impatient:
        line = sent(impatient.url, tenant, body | {"suffix": "second"})
        refused = line.getresponse()
        answer = json.loads(refused.read())
    assert (refused.status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
    assert "send it again when they have ended" in answer["error"]["message"]
    assert int(refused.headers["retry-after"]) > 0
    assert list(import_tasks(tenant).values()) == ["running", "cancelled"]
    first.leave()


def test_an_import_whose_api_was_killed_is_done_once_and_answered_by_the_next(
    tenant: Tenant, body: dict[str, Any], dying: CrashingApi
) -> None:
    lost = sent(dying.url, tenant, body, **KEY)
    [task_id] = wait_for(lambda: list(import_tasks(tenant)))
    dying.kill()
    with pytest.raises(ConnectionError):
        lost.getresponse()
    import_next(tenant, task_id)
    dying.start()
    answers = [answer_on(sent(dying.url, tenant, body, **KEY)) for _ in range(2)]
    assert answers[0] == answers[1]
    assert (answers[0][0], adapters(tenant)) == (200, [answers[0][1]["id"]])
    assert import_tasks(tenant) == {task_id: "succeeded"}


def test_a_refused_import_does_not_use_up_its_key(tenant: Tenant, body: dict[str, Any]) -> None:
    wrong = body | {"file": tenant.upload(b"not an adapter", "user_data", "adapter.zip")}
    with importing_worker(tenant.api):
        status, answer = answer_on(sent(tenant.api.url, tenant, wrong, **KEY))
        assert (status, answer["error"]["code"]) == (400, "unsupported_format")
        assert answer_on(sent(tenant.api.url, tenant, body, **KEY))[0] == 200


def test_a_file_that_was_deleted_meanwhile_is_refused(tenant: Tenant, body: dict[str, Any]) -> None:
    waiting = WaitingImport(tenant, body)
    with tenant.api.sessions() as session:
        key = session.get_one(File, body["file"]).object_key
    tenant.api.store.empty(key)
    import_next(tenant, waiting.task_id)
    status, answer = waiting.answer()
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "damaged_file", "file")


def test_an_import_is_in_the_audit_log_as_an_act_of_its_key(tenant: Tenant, body: dict[str, Any]) -> None:
    waiting = WaitingImport(tenant, body, **{"x-request-id": "req_of_the_import"})
    import_next(tenant, waiting.task_id)
    _, adapter = waiting.answer()
    with tenant.api.sessions() as session:
        [entry] = session.scalars(select(AuditLog).where(AuditLog.resource_id == adapter["id"]))
    assert entry.action == "adapter.imported"
    assert (entry.key_id, entry.request_id) == (adapter["imported"]["key_id"], "req_of_the_import")
    assert entry.details == {"file": "adapter.zip", "sha256": adapter["imported"]["sha256"]}


@pytest.mark.parametrize(
    ("error", "status"),
    [("worker_lost", 503), ("unavailable", 503), ("model_unavailable", 503), ("internal_error", 500)],
)
def test_what_is_no_fault_of_the_file_is_answered_as_one_of_the_service(
    tenant: Tenant, body: dict[str, Any], error: str, status: int
) -> None:
    waiting = WaitingImport(tenant, body)
    lease = take(tenant.api, waiting.task_id)
    with tenant.api.sessions.begin() as session:
        leases.fail(session, lease, JobError(error, "It has failed."))
    found, answer = waiting.answer()
    assert (found, answer["error"]["code"]) == (status, error)
