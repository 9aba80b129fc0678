"""All lists have one rule for cursors: an id of the list's kind, which may have been deleted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.roles import Role
from tests.fixtures.api import BASE_MODEL, Api, Tenant, refusal
from tests.fixtures.completions import allow, store
from tests.fixtures.evals_api import make_eval, make_run

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
    admin = api.tenant("alice", Role.ADMIN)
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
            refusal(
                admin.http.get(path.format(**ids), params={"after": "an id!"}), 400, "after", "invalid_cursor"
            )
            asked += 1
    assert asked == 24
