"""Output items through OpenAI's client: pages of what a run found, read from its files."""

from typing import Any

import pytest
from openai.types.evals.runs import OutputItemListResponse, OutputItemRetrieveResponse

from api.http.paging import PAGE_BYTES
from core.evals.results import ROWS_IN_A_FILE, Record, file_of
from tests.fixtures.service.api import BASE_MODEL, Api, Tenant, refusal, strictly
from tests.fixtures.work.evals_api import EVALS, finish_run, judged, make_eval, make_run

ROWS = 2 * ROWS_IN_A_FILE + 50
FAILS = {3, ROWS_IN_A_FILE, ROWS - 1}
ERRS = {7}


def record(index: int) -> Record:
    return judged(index, passed=index not in FAILS, error="model_failed" if index in ERRS else None)


@pytest.fixture(scope="module")
def eval_id(alice: Tenant) -> str:
    return make_eval(alice)


@pytest.fixture(scope="module")
def run_id(api: Api, alice: Tenant, eval_id: str) -> str:
    """Return a run of which three files have the records."""
    run_id = make_run(alice, eval_id)
    finish_run(api, run_id, [record(index) for index in range(ROWS)])
    return run_id


def indices(tenant: Tenant, eval_id: str, run_id: str, **asked: Any) -> list[int]:
    items = tenant.openai.evals.runs.output_items.list(run_id, eval_id=eval_id, **asked)
    return [item.datasource_item_id for item in items]


def test_the_official_client_reads_every_item(alice: Tenant, eval_id: str, run_id: str) -> None:
    listed = list(alice.openai.evals.runs.output_items.list(run_id, eval_id=eval_id, limit=9))
    for item in listed[:9]:
        strictly(OutputItemListResponse, item.model_dump())
    statuses = {item.datasource_item_id: item.status for item in listed}
    assert list(statuses) == list(range(ROWS))
    assert {index for index, status in statuses.items() if status == "fail"} == FAILS
    one = alice.openai.evals.runs.output_items.retrieve(listed[3].id, eval_id=eval_id, run_id=run_id)
    strictly(OutputItemRetrieveResponse, one.model_dump())
    assert (one.id, one.status, one.sample.output[0].content) == (f"{run_id}-3", "fail", "no")
    assert [(result.name, result.passed) for result in one.results] == [("same", False)]


def test_a_row_that_could_not_be_judged_says_why(alice: Tenant, eval_id: str, run_id: str) -> None:
    item = alice.http.get(f"{EVALS}/{eval_id}/runs/{run_id}/output_items/{run_id}-7").json()
    strictly(OutputItemRetrieveResponse, item)
    assert (item["status"], item["error"]["code"], item["results"]) == ("error", "model_failed", [])
    assert item["sample"]["model"] == BASE_MODEL


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 100])
def test_pages_have_every_item_of_a_status_once(
    alice: Tenant, eval_id: str, run_id: str, order: str, limit: int
) -> None:
    backwards = order == "desc"
    for status, expected in (("fail", FAILS), ("error", ERRS)):
        found = indices(alice, eval_id, run_id, limit=limit, order=order, status=status)
        assert found == sorted(expected, reverse=backwards)
    if limit == 100:
        found = indices(alice, eval_id, run_id, limit=limit, order=order)
        assert found == sorted(range(ROWS), reverse=backwards)


@pytest.mark.parametrize(
    ("asked", "files"),
    [
        ({"limit": 3}, [0]),
        ({"limit": 3, "order": "desc"}, [2]),
        ({"limit": 3, "after": ROWS_IN_A_FILE}, [1]),
        ({"limit": 3, "after": ROWS_IN_A_FILE + 5, "order": "desc"}, [1]),
        ({"limit": 3, "after": ROWS_IN_A_FILE - 1}, [0, 1]),
        ({"limit": 100, "status": "error"}, [0]),
        ({"limit": 100, "status": "error", "order": "desc"}, [0]),
        ({"limit": 100, "status": "fail", "after": ROWS_IN_A_FILE}, [1, 2]),
    ],
)
def test_a_page_reads_no_other_file(
    api: Api,
    alice: Tenant,
    eval_id: str,
    run_id: str,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    files: list[int],
) -> None:
    read, really = [], api.store.read
    monkeypatch.setattr(api.store, "read", lambda key, part=None: read.append(key) or really(key, part))
    if "after" in asked:
        asked = asked | {"after": f"{run_id}-{asked['after']}"}
    page = alice.http.get(f"{EVALS}/{eval_id}/runs/{run_id}/output_items", params=asked).json()
    assert len(page["data"]) == {"error": 1, "fail": 1}.get(asked.get("status"), 3)
    assert [key.rpartition("/")[2] for key in read] == [file_of(n * ROWS_IN_A_FILE) for n in files]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_page_of_large_items_ends_early(api: Api, alice: Tenant, eval_id: str, order: str) -> None:
    run_id = make_run(alice, eval_id)
    share = PAGE_BYTES // 10
    records = [judged(index, padding=18 * share if index == 2 else 3 * share) for index in range(6)]
    finish_run(api, run_id, records)
    url = f"{EVALS}/{eval_id}/runs/{run_id}/output_items"
    page = alice.http.get(url, params={"order": order}).json()
    assert (1 <= len(page["data"]) < 4, page["has_more"]) == (True, True)
    found = indices(alice, eval_id, run_id, order=order)
    assert found == sorted(range(6), reverse=order == "desc")


def test_a_run_that_has_not_ended_has_no_items(alice: Tenant, eval_id: str) -> None:
    run_id = make_run(alice, eval_id)
    assert indices(alice, eval_id, run_id) == []
    url = f"{EVALS}/{eval_id}/runs/{run_id}/output_items/{run_id}-0"
    refusal(alice.http.get(url), 404, "output_item_id", "output_item_not_found")


@pytest.mark.parametrize("ending", ["-999", "-00", "-x", "", "-999999999999"])
def test_an_item_that_does_not_exist_is_not_found(
    alice: Tenant, eval_id: str, run_id: str, ending: str
) -> None:
    url = f"{EVALS}/{eval_id}/runs/{run_id}/output_items/{run_id}{ending}"
    refusal(alice.http.get(url), 404, "output_item_id", "output_item_not_found")


def test_a_file_that_the_store_has_lost_is_said_to_be_missing(api: Api, alice: Tenant, eval_id: str) -> None:
    run_id = make_run(alice, eval_id)
    finish_run(api, run_id, [judged(0)])
    api.store.empty(f"evalruns/{run_id}/")
    answer = alice.http.get(f"{EVALS}/{eval_id}/runs/{run_id}/output_items")
    refusal(answer, 404, None, "content_missing")
