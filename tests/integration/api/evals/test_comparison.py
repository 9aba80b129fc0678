"""Comparisons of two runs of an eval: what the criteria say, which rows changed, and what is refused."""

from collections import Counter
from typing import Any

import pytest

from api.admission import store_threads
from api.http.paging import PAGE_BYTES
from core.evals.results import Record
from tests.fixtures.service.api import Api, Tenant, refusal
from tests.fixtures.work.evals_api import CHECK, EVALS, finish_run, judged, make_eval, make_run, sampled

ROWS = 130  # more than one file has
WON, LOST, FAILED = range(100, 112), (7, 3), 5  # the rows that the tuned model wins, loses, cannot do


@pytest.fixture(scope="module")
def eval_id(alice: Tenant) -> str:
    return make_eval(alice)


@pytest.fixture(scope="module")
def base(api: Api, alice: Tenant, eval_id: str) -> str:
    return finished(api, alice, eval_id, [judged(row, passed=row not in WON) for row in range(ROWS)])


@pytest.fixture(scope="module")
def tuned(api: Api, alice: Tenant, eval_id: str) -> str:
    records = [judged(row, passed=row not in LOST) for row in range(ROWS)]
    records[FAILED] = judged(FAILED, error="model_failed")
    return finished(api, alice, eval_id, records)


def finished(api: Api, tenant: Tenant, eval_id: str, records: list[Record]) -> str:
    run_id = make_run(tenant, eval_id)
    finish_run(api, run_id, records)
    return run_id


def compared(tenant: Tenant, eval_id: str, base: str, tuned: str, rows: str = "", **query: Any) -> Any:
    asked = {"base": base, "tuned": tuned, **query}
    return tenant.http.get(f"{EVALS}/{eval_id}/compare{rows}", params=asked)


def changed(tenant: Tenant, eval_id: str, base: str, tuned: str, **query: Any) -> Any:
    return compared(tenant, eval_id, base, tuned, "/rows", criterion=CHECK["name"], **query)


def test_a_comparison_says_by_how_much_the_tuned_model_is_better_and_how_sure_it_is(
    alice: Tenant, eval_id: str, base: str, tuned: str
) -> None:
    found = compared(alice, eval_id, base, tuned).json()
    assert (found["compared_rows"], found["left_out_rows"]) == (ROWS - 1, 1)
    assert (found["base"]["run_id"], found["tuned"]["run_id"]) == (base, tuned)
    (criterion,) = found["criteria"]
    assert criterion["rows"] == {"better": 12, "worse": 2, "equal": 115}
    assert criterion["base"]["value"] == pytest.approx(117 / 129)
    assert criterion["base"]["low"] < criterion["base"]["value"] < criterion["base"]["high"]
    assert criterion["difference"] == pytest.approx(10 / 129)
    assert 0 < criterion["low"] < criterion["difference"] < criterion["high"]
    assert criterion["p_value"] < 0.05
    assert criterion["verdict"] == "better"
    reverse = compared(alice, eval_id, tuned, base).json()["criteria"][0]
    assert (reverse["verdict"], reverse["p_value"]) == ("worse", criterion["p_value"])


def test_a_run_does_not_differ_from_itself(alice: Tenant, eval_id: str, base: str) -> None:
    (criterion,) = compared(alice, eval_id, base, base).json()["criteria"]
    assert (criterion["difference"], criterion["p_value"]) == (0.0, 1.0)
    assert criterion["verdict"] == "no_clear_difference"


def test_changed_rows_come_page_by_page_with_both_answers(
    alice: Tenant, eval_id: str, base: str, tuned: str
) -> None:
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = changed(alice, eval_id, base, tuned, change="better", limit=5, **after).json()
        found += page["data"]
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    assert [row["datasource_item_id"] for row in found] == list(WON)
    first = found[0]
    assert first["datasource_item"]["question"] == "question 100"
    assert first["change"] == 1.0
    assert first["base"]["sample"]["output"] == [{"role": "assistant", "content": "no"}]
    assert (first["base"]["result"]["score"], first["tuned"]["result"]["score"]) == (0.0, 1.0)
    item = f"{EVALS}/{eval_id}/runs/{tuned}/output_items/{first['tuned']['output_item_id']}"
    assert alice.http.get(item).json()["datasource_item_id"] == 100
    worse = changed(alice, eval_id, base, tuned, change="worse").json()["data"]
    assert [row["datasource_item_id"] for row in worse] == sorted(LOST)


def test_a_page_of_changed_rows_reads_each_file_once_more(
    api: Api, alice: Tenant, eval_id: str, base: str, tuned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def read(key: str, part: range | None = None) -> Any:
        opened.append(key)
        return really(key, part)

    really = api.store.read
    monkeypatch.setattr(api.store, "read", read)
    assert len(changed(alice, eval_id, base, tuned, change="better").json()["data"]) == len(WON)
    assert Counter(Counter(opened).values()) == {1: 2, 2: 2}, (
        "both read both files, and the changed rows' again"
    )


def test_a_page_of_large_changed_rows_ends_early(api: Api, alice: Tenant) -> None:
    eval_id = make_eval(alice)
    runs = [
        finished(api, alice, eval_id, [judged(row, passed=won, padding=PAGE_BYTES // 3) for row in range(4)])
        for won in (False, True)
    ]
    page = changed(alice, eval_id, *runs, change="better").json()
    assert page["has_more"]
    assert 1 <= len(page["data"]) < 4
    rest = changed(alice, eval_id, *runs, change="better", after=page["last_id"]).json()["data"]
    assert rest[0]["datasource_item_id"] == len(page["data"])


def test_a_comparison_that_finds_no_turn_is_refused_with_a_time_to_come_back(
    api: Api, alice: Tenant, eval_id: str, base: str, tuned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_threads, "WAIT_SECONDS", 0.05)
    turns = api.app.state.comparing_threads
    other = object()
    turns.acquire_on_behalf_of_nowait(other)
    try:
        answer = compared(alice, eval_id, base, tuned)
    finally:
        turns.release_on_behalf_of(other)
    refusal(answer, 503, None, "comparison_busy")
    assert int(answer.headers["retry-after"]) > 0
    assert compared(alice, eval_id, base, tuned).status_code == 200


def test_the_largest_change_comes_first(api: Api, alice: Tenant, eval_id: str, base: str) -> None:
    records = [judged(row) for row in range(ROWS)]
    for row, score in ((100, 0.3), (101, 0.9), (102, 0.6)):
        records[row].results[0].score = score
    improved = finished(api, alice, eval_id, records)
    found = changed(alice, eval_id, base, improved, change="better", limit=20).json()["data"]
    assert [row["datasource_item_id"] for row in found][-3:] == [101, 102, 100]


def test_runs_on_other_rows_are_not_compared(api: Api, alice: Tenant, eval_id: str, base: str) -> None:
    fewer = finished(api, alice, eval_id, [judged(row) for row in range(20)])
    error = refusal(compared(alice, eval_id, base, fewer), 400, "tuned", "different_rows")
    assert "130 rows" in error["message"]
    others = [judged(row) for row in range(ROWS)]
    others[110].item["answer"] = "no"
    other = finished(api, alice, eval_id, others)
    error = refusal(compared(alice, eval_id, base, other), 400, "tuned", "different_rows")
    assert "row 111" in error["message"]
    refusal(changed(alice, eval_id, base, other, change="better"), 400, "tuned", "different_rows")


def test_all_samples_of_a_row_count_as_one_row_of_the_comparison(
    api: Api, alice: Tenant, eval_id: str
) -> None:
    """Twelve rows of which four have become better are too few to tell, however often they are sampled."""

    def run(better: int) -> str:
        run_id = make_run(alice, eval_id, sampling_params={"n": 16})
        finish_run(api, run_id, *sampled([[row < better or row > 8] * 16 for row in range(12)]))
        return run_id

    base, tuned = run(0), run(4)
    found = compared(alice, eval_id, base, tuned).json()
    (criterion,) = found["criteria"]
    assert (found["compared_rows"], criterion["rows"]) == (192, {"better": 4, "worse": 0, "equal": 8})
    assert criterion["difference"] == pytest.approx(4 / 12)
    assert criterion["p_value"] > 0.05
    worse = changed(alice, eval_id, tuned, base, change="worse", limit=100).json()["data"]
    assert [row["datasource_item_id"] for row in worse] == [row for row in range(4) for _ in range(16)]

    once = make_run(alice, eval_id)
    finish_run(api, once, [judged(row) for row in range(192)])
    error = refusal(compared(alice, eval_id, base, once), 400, "tuned", "different_rows")
    assert "16 samples of each row" in error["message"]


def test_a_run_that_has_not_completed_is_not_compared(alice: Tenant, eval_id: str, base: str) -> None:
    waiting = make_run(alice, eval_id)
    error = refusal(compared(alice, eval_id, base, waiting), 409, "tuned", "eval_run_not_completed")
    assert "queued" in error["message"]
    alice.http.post(f"{EVALS}/{eval_id}/runs/{waiting}/cancel")
    refusal(compared(alice, eval_id, waiting, base), 409, "base", "eval_run_not_completed")


def test_what_is_named_wrong_is_said(alice: Tenant, eval_id: str, base: str, tuned: str) -> None:
    refusal(compared(alice, eval_id, base, "evalrun-x"), 404, "tuned", "eval_run_not_found")
    refusal(compared(alice, make_eval(alice), base, tuned), 404, "base", "eval_run_not_found")
    asked = {"criterion": "beauty", "change": "better"}
    error = refusal(compared(alice, eval_id, base, tuned, "/rows", **asked), 400, "criterion")
    assert CHECK["name"] in error["message"]
    refusal(changed(alice, eval_id, base, tuned, change="other"), 400, "change")
    refusal(
        changed(alice, eval_id, base, tuned, change="better", after="row-1"), 400, "after", "invalid_cursor"
    )


def test_the_runs_of_another_project_are_not_found(bob: Tenant, base: str, tuned: str) -> None:
    refusal(compared(bob, make_eval(bob), base, tuned), 404, "base", "eval_run_not_found")
