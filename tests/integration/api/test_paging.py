"""All lists have one rule for cursors: an id of the list's kind, which may have been deleted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from api.http import paging
from core.roles import Role
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal
from tests.fixtures.work.completions import allow, store
from tests.fixtures.work.evals_api import make_eval, make_run

WEBHOOK = {"name": "x", "url": "https://example.com", "event_types": ["fine_tuning.job.failed"]}

MAKE: dict[str, Callable[[Tenant, int], object]] = {
    "/v1/files": lambda tenant, _: tenant.upload(),
    "/v1/secrets": lambda tenant, n: tenant.http.post("/v1/secrets", json={"name": f"N{n}", "value": "x"}),
    "/v1/webhook_endpoints": lambda tenant, _: tenant.http.post("/v1/webhook_endpoints", json=WEBHOOK),
}


@pytest.mark.parametrize("path", MAKE)
def test_a_loop_that_deletes_as_it_pages_reaches_everything(api: Api, path: str) -> None:
    tenant = api.tenant(role=Role.ADMIN)
    for number in range(3):
        MAKE[path](tenant, number)
    deleted, asked = 0, {"limit": "1"}
    while page := tenant.http.get(path, params=asked).json()["data"]:
        asked["after"] = page[0]["id"]
        assert tenant.http.delete(f"{path}/{page[0]['id']}").is_success
        deleted += 1
    assert deleted == 3


def test_no_list_takes_a_cursor_of_another_form(api: Api, alice: Tenant, adapter_folder: Path) -> None:
    admin, operator = api.tenant("alice", Role.ADMIN), api.tenant("default", Role.ADMIN)
    allow(admin)
    stored = store(admin)
    eval_id = make_eval(alice)
    ids = {
        "eval_id": eval_id,
        "file_id": alice.upload(),
        "run_id": make_run(alice, eval_id),
        "fine_tuning_job_id": alice.create_job()["id"],
        "project_id": alice.project_id,
        "webhook_endpoint_id": admin.http.post("/v1/webhook_endpoints", json=WEBHOOK).json()["id"],
        "alias": admin.http.post("/v1/aliases", json={"name": "prod", "model": BASE_MODEL}).json()["name"],
        "completion_id": stored,
        "adapter_id": api.finish(api.claim(alice.create_job()["id"]), adapter_folder),
    }
    asked = 0
    for path, methods in api.app.openapi()["paths"].items():
        parameters = methods.get("get", {}).get("parameters", ())
        named = {parameter["name"] for parameter in parameters}
        asks_for_more = any(each["in"] == "query" and each.get("required") for each in parameters)
        if "after" in named and "fine_tuned_model_checkpoint" not in named and not asks_for_more:
            caller = operator if path == "/v1/organization/base_models" else admin
            answer = caller.http.get(path.format(**ids), params={"after": "an id!"})
            refusal(answer, 400, "after", "invalid_cursor")
            asked += 1
    assert asked == 26


def some_of_everything(api: Api, tenant: Tenant, adapter_folder: Path) -> dict[str, int]:
    """Make items of each list whose rows may be large. Return the paths of the lists, and their lengths."""
    allow(tenant)
    for _ in range(2):
        store(tenant)
    file_id, eval_id = tenant.upload(), make_eval(tenant)
    make_eval(tenant)
    for _ in range(2):
        make_run(tenant, eval_id)
    files = {"training_file": file_id, "validation_file": tenant.upload()}
    sweep = {"model": BASE_MODEL, "parameters": {"adapter.r": [4, 8]}, **files}
    parts = [api.finish(api.claim(tenant.create_job()["id"]), adapter_folder) for _ in range(2)]
    ask = (
        ("/v1/fine_tuning/sweeps", sweep),
        ("/v1/adapters/compose", {"adapters": [{"adapter": part} for part in parts]}),
        (f"/v1/adapters/{parts[0]}/exports", {"format": "merged"}),
        (f"/v1/files/{file_id}/check", {}),
        (f"/v1/files/{file_id}/convert", {}),
    )
    for path, body in ask:
        for _ in range(2):
            answer = tenant.http.post(path, json=body)
            assert answer.is_success, answer.text
    return {
        "/v1/chat/completions": 2,
        "/v1/evals": 2,
        f"/v1/evals/{eval_id}/runs": 2,
        "/v1/fine_tuning/jobs": 4,
        "/v1/fine_tuning/sweeps": 2,
        "/v1/adapters": 2,
        "/v1/adapters/compositions": 2,
        f"/v1/adapters/{parts[0]}/exports": 2,
        f"/v1/files/{file_id}/checks": 2,
        f"/v1/files/{file_id}/conversions": 2,
    }


def test_a_page_that_is_full_of_bytes_ends_early_and_the_next_one_goes_on(
    api: Api, adapter_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = api.tenant(role=Role.ADMIN)
    lists = some_of_everything(api, tenant, adapter_folder)
    monkeypatch.setattr(paging, "PAGE_BYTES", 1)
    for path, expected in lists.items():
        found, asked = [], {"limit": "100"}
        while True:
            page = tenant.http.get(path, params=asked).json()
            assert len(page["data"]) == 1, path
            found.append(page["data"][0]["id"])
            if not page["has_more"]:
                break
            asked["after"] = found[-1]
        assert len(set(found)) == len(found) == expected, path


def test_a_page_of_jobs_with_large_criteria_is_bounded(alice: Tenant) -> None:
    """A job's request may have a megabyte, so that a thousand jobs would fill the memory of the API."""
    large = {"type": "string_check", "operation": "eq", "reference": "x"}
    criteria = [
        {**large, "name": f"criterion {number}", "input": "{{ sample.output_text }}" + 60_000 * "x"}
        for number in range(12)
    ]
    asked = {"training_file": alice.upload(), "validation_file": alice.upload()}
    made = [alice.create_job(evaluate={"criteria": criteria}, **asked)["id"] for _ in range(8)]
    answer = alice.http.get("/v1/fine_tuning/jobs", params={"limit": 1000})
    assert len(answer.content) < paging.PAGE_BYTES + 2 * 1024**2
    assert answer.json()["has_more"]
    assert {job.id for job in alice.openai.fine_tuning.jobs.list(limit=1000)} >= set(made)
