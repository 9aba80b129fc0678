"""Portability through the API. No worker runs here: the tests do what a task's process would do."""

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from api.portability import service
from core.errors import JobError
from core.roles import Role
from core.tables import AuditLog, Task
from core.work import lease as leases
from core.work.client import create
from core.work.kinds import PORTABILITY
from tests.fixtures.service.api import Api, Tenant, refusal
from tests.fixtures.work.portability import FIGURES, finish_measurement
from tests.fixtures.work.taking import take


@pytest.fixture
def tenant(api: Api) -> Tenant:
    return api.tenant()


@pytest.fixture
def adapter(api: Api, tenant: Tenant, tmp_path: Path) -> str:
    return published(api, tenant, tmp_path)


def published(api: Api, tenant: Tenant, folder: Path) -> str:
    (folder / "adapter_config.json").write_text("{}")
    return api.finish(api.claim(tenant.create_job()["id"]), folder)


def at(adapter: str) -> str:
    return f"/v1/adapters/{adapter}/portability"


def report(tenant: Tenant, adapter: str) -> dict[str, Any]:
    answer = tenant.http.get(at(adapter))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def statuses(shown: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    return {each["runtime"]: (each["status"], each["measured"]) for each in shown["runtimes"]}


def test_rules_answer_before_anything_is_measured(tenant: Tenant, adapter: str) -> None:
    shown = report(tenant, adapter)
    assert (shown["adapter_id"], shown["measured_at"], shown["measurement"]) == (adapter, None, None)
    assert statuses(shown) == {
        **dict.fromkeys(("peft", "vllm", "llama_cpp"), ("not_measured", False)),
        **dict.fromkeys(("sglang", "lorax", "ollama", "mlx"), ("works", False)),
    }
    assert all(each["sources"] and each["reason"] and each["start_line"] for each in shown["runtimes"])
    (vllm,) = (each for each in shown["runtimes"] if each["runtime"] == "vllm")
    assert vllm["start_line"].startswith("vllm serve example/Tiny --revision main ")


def test_figures_take_the_place_of_rules_and_stay_while_it_is_measured_again(
    api: Api, tenant: Tenant, adapter: str
) -> None:
    first = tenant.http.post(at(adapter)).json()["measurement"]
    assert first["status"] == "queued"
    finish_measurement(api, first["id"])
    shown = report(tenant, adapter)
    assert statuses(shown)["peft"] == ("works", True)
    assert statuses(shown)["vllm"] == ("not_measured", False)
    assert statuses(shown)["llama_cpp"] == ("unsupported", False)  # no form could be made
    assert shown["runtimes"][2]["start_line"] is None
    assert shown["runtimes"][0]["figures"] == FIGURES.model_dump()
    assert shown["measured_at"] == shown["measurement"]["finished_at"]
    assert shown["prompts"] == {
        "count": 20,
        "from_validation_file": 3,
        "from_general_list": 17,
        "new_tokens": 16,
    }

    again = tenant.http.post(at(adapter)).json()
    assert again["measurement"]["id"] != first["id"]
    assert (again["measurement"]["status"], again["measured_at"]) == ("queued", shown["measured_at"])
    assert statuses(again)["peft"] == ("works", True)
    tenant.http.post(f"{at(adapter)}/cancel")


def test_one_measurement_at_a_time_is_under_way(api: Api, tenant: Tenant, adapter: str) -> None:
    first = tenant.http.post(at(adapter)).json()["measurement"]
    lease = take(api, first["id"])
    with api.sessions.begin() as session:
        leases.renew(session, lease, "measuring PEFT", 0.25)
    second = tenant.http.post(at(adapter)).json()["measurement"]
    assert second["id"] == first["id"]
    with api.sessions() as session:
        started = AuditLog.project_id == tenant.project_id, AuditLog.action == "portability.started"
        assert session.scalars(select(AuditLog.resource_id).where(*started)).all() == [first["id"]]
    assert second["progress"] == {"phase": "measuring PEFT", "percent": 25.0}
    cancelled = tenant.http.post(f"{at(adapter)}/cancel").json()
    assert cancelled["measurement"]["status"] == "cancelled"
    refusal(tenant.http.post(f"{at(adapter)}/cancel"), 409, code="task_ended")


def test_a_client_makes_a_measurement_that_a_job_has_started_its_own(
    api: Api, tenant: Tenant, adapter: str
) -> None:
    with api.sessions.begin() as session:
        started = create(session, tenant.project_id, PORTABILITY, {}, None, adapter_id=adapter).id
    for _ in range(2):
        assert tenant.http.post(at(adapter)).json()["measurement"]["id"] == started
    with api.sessions() as session:
        assert not session.get_one(Task, started).started_by_job
        audited = AuditLog.project_id == tenant.project_id, AuditLog.action == "portability.started"
        assert session.scalars(select(AuditLog.resource_id).where(*audited)).all() == [started]
    tenant.http.post(f"{at(adapter)}/cancel")


def test_two_requests_at_once_start_one_measurement(api: Api, tenant: Tenant, adapter: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        with api.sessions.begin() as session:
            first = service.start(session, tenant.project_id, adapter, 10)
            second = pool.submit(tenant.http.post, at(adapter))
            wait([second], timeout=0.5)
            assert first is not None
            first_id = first.id
        assert second.result().json()["measurement"]["id"] == first_id
    tenant.http.post(f"{at(adapter)}/cancel")


def test_nothing_is_cancelled_where_nothing_was_started(tenant: Tenant, adapter: str) -> None:
    refusal(tenant.http.post(f"{at(adapter)}/cancel"), 409, code="task_ended")


def test_a_measurement_that_fails_says_why_and_keeps_the_last_success(
    api: Api, tenant: Tenant, adapter: str
) -> None:
    finish_measurement(api, tenant.http.post(at(adapter)).json()["measurement"]["id"])
    lease = take(api, tenant.http.post(at(adapter)).json()["measurement"]["id"])
    with api.sessions.begin() as session:
        leases.fail(session, lease, JobError("not_finite", "It computes numbers that are not finite."))
    shown = report(tenant, adapter)
    assert shown["measurement"]["error"]["message"] == "It computes numbers that are not finite."
    assert statuses(shown)["peft"] == ("works", True)


def test_a_project_with_which_the_model_is_shared_measures_for_itself(
    api: Api, tenant: Tenant, adapter: str
) -> None:
    friend = api.tenant()
    model = tenant.http.get(f"/v1/adapters/{adapter}").json()["model"]
    admin = api.tenant(tenant.project, Role.ADMIN)
    admin.openai.fine_tuning.checkpoints.permissions.create(model, project_ids=[friend.project_id])
    started = friend.http.post(at(adapter)).json()["measurement"]
    assert started["status"] == "queued"
    assert report(tenant, adapter)["measurement"] is None
    friend.http.post(f"{at(adapter)}/cancel")


def test_a_deleted_adapter_takes_its_report_along(api: Api, tenant: Tenant, adapter: str) -> None:
    tenant.http.post(at(adapter))
    assert tenant.http.delete(f"/v1/adapters/{adapter}").status_code == 200
    refusal(tenant.http.get(at(adapter)), 404, "adapter_id")
    with api.sessions.begin() as session:
        assert leases.take(session, "another process", ["portability"]) is None
