"""The rows of a job: their orders, their pages, and whom they are shown to."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from core.tables import RowLoss
from tests.fixtures.service.api import Api, Tenant, dataset, refusal
from tests.fixtures.service.janitor import GRACE_OVER, clean
from tests.fixtures.work.file_tasks import checked

JOBS = "/v1/fine_tuning/jobs"
# Loss before, loss after, and suspicion of the lines 1 to 5
LOSSES = [(2.0, 1.5, 0.1), (2.0, 0.5, -0.2), (1.0, 1.4, 0.9), (3.0, 1.4, 0.9), (2.5, None, None)]
BY_ORDER = {
    "hardest": [5, 1, 3, 4, 2],
    "most_changed": [4, 2, 1, 3],
    "most_forgotten": [3, 1, 2, 4],
    "likely_mislabelled": [3, 4, 1, 2],
}


@pytest.fixture
def job_id(api: Api, alice: Tenant) -> str:
    file_id = alice.upload(dataset(20))
    job = alice.create_job(training_file=file_id, validation_file=file_id, training={"row_losses": 100})
    with api.sessions.begin() as session:
        for part in ("training", "validation"):
            for line, (before, after, suspicion) in enumerate(LOSSES, 1):
                named = {"job_id": job["id"], "part": part, "line": line, "tokens": 3}
                session.add(RowLoss(**named, before=before, after=after, suspicion=suspicion))
    return str(job["id"])


def rows(tenant: Tenant, job_id: str, **query: Any) -> dict[str, Any]:
    answer = tenant.http.get(f"{JOBS}/{job_id}/rows", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("order", BY_ORDER)
def test_each_order_has_its_rows_page_by_page(alice: Tenant, job_id: str, order: str) -> None:
    whole = rows(alice, job_id, order=order, part="validation")
    assert [row["line"] for row in whole["data"]] == BY_ORDER[order]
    paged, after = [], None
    while True:
        page = rows(alice, job_id, order=order, limit=3, **({"after": after} if after else {}))
        paged += page["data"]
        if not page["has_more"]:
            break
        after = page["last_id"]
    assert paged == rows(alice, job_id, order=order)["data"]
    assert len(paged) == 2 * len(BY_ORDER[order])


def test_a_row_names_its_file_and_its_line(alice: Tenant, job_id: str) -> None:
    (row,) = rows(alice, job_id, order="most_changed", part="validation", limit=1)["data"]
    assert row["file_id"] == alice.job(job_id)["validation_file"]
    assert (row["id"], row["line"], row["tokens"]) == ("validation-4", 4, 3)
    assert (row["loss_before"], row["loss_after"], row["change"]) == (3.0, 1.4, -1.6)


def test_others_see_no_rows_and_what_is_no_row_is_no_place_in_the_list(
    alice: Tenant, bob: Tenant, job_id: str
) -> None:
    refusal(bob.http.get(f"{JOBS}/{job_id}/rows"), 404, "fine_tuning_job_id")
    refusal(alice.http.get(f"{JOBS}/{job_id}/rows?after=row-1"), 400, "after", "invalid_cursor")
    refusal(alice.http.get(f"{JOBS}/{job_id}/rows?order=easiest"), 400, "order")
    assert rows(alice, job_id, after="training-999")["data"] == []


def test_rows_go_with_their_job(api: Api, alice: Tenant, job_id: str) -> None:
    alice.openai.fine_tuning.jobs.cancel(job_id)
    assert alice.http.delete(f"{JOBS}/{job_id}").status_code == 200
    clean(api, GRACE_OVER)
    with api.sessions() as session:
        assert not session.scalars(select(RowLoss).where(RowLoss.job_id == job_id)).all()


def test_a_mended_copy_is_made_without_the_lines_that_are_named(api: Api, alice: Tenant) -> None:
    content = dataset(12)
    file_id = alice.upload(content)
    path = f"/v1/files/{file_id}/check"
    refusal(alice.http.post(path, json={"leave_out": [1]}), 400, "leave_out")
    mended = checked(api, alice, file_id, mend=True, leave_out=[2, 11, 99])["mended_file"]
    lines = content.splitlines()
    expected = [line for number, line in enumerate(lines, 1) if number not in (2, 11)]
    assert alice.http.get(f"/v1/files/{mended}/content").content.splitlines() == expected


def test_a_row_of_an_array_on_one_line_is_left_out_by_its_number(api: Api, alice: Tenant) -> None:
    rows = [json.loads(line) for line in dataset(12).splitlines()]
    rows[6] = rows[3]
    file_id = alice.upload(json.dumps(rows).encode(), "user_data", "rows.json")
    check = checked(api, alice, file_id, mend=True, leave_out=[2])
    assert check["report"]["numbered_by"] == "row"
    (found,) = [each for each in check["report"]["findings"] if each["code"] == "exact_duplicate"]
    assert (found["line"], found["other_line"]) == (7, 4)
    left = alice.http.get(f"/v1/files/{check['mended_file']}/content").content.splitlines()
    assert [json.loads(line) for line in left] == [row for at, row in enumerate(rows, 1) if at not in (2, 7)]
