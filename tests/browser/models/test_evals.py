"""Evals: whether a model is better, by which rows, and where that is shown.

No process of an eval runs here: the tests do what it would do.
"""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from core.evals.results import Record
from tests.fixtures.service.api import Tenant
from tests.fixtures.service.pages import in_both_themes
from tests.fixtures.service.site import Site
from tests.fixtures.work.evals_api import (
    EVALS,
    answered,
    finish_run,
    judged,
    measured,
)

ROWS = 24


def base_records() -> list[Record]:
    return [answered(row, "yes" if row % 4 == 0 else "no, it is not", 2 + row / 50) for row in range(ROWS)]


def tuned_records() -> list[Record]:
    """Better in most rows; worse in the first; the last could not be judged."""
    records = [answered(row, "yes", 1 + row / 60) for row in range(ROWS)]
    records[0] = answered(0, "no", 3.5)
    item = records[-1].item
    records[-1] = judged(ROWS - 1, error="model_failed").model_copy(update={"item": item})
    return records


def finish(site: Site, run_id: str, records: list[Record]) -> None:
    finish_run(site.api, run_id, records, measured(records))


def runs_of(tenant: Tenant, eval_id: str) -> dict[str, str]:
    """Return the id of the run of each role."""
    runs = tenant.http.get(f"{EVALS}/{eval_id}/runs").json()["data"]
    return {run["metadata"]["model"]: run["id"] for run in runs}


def evals_of(tenant: Tenant, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.http.get(EVALS, params={"job_id": job_id}).json()["data"]
    return found


@pytest.mark.exhaustive
def test_a_job_s_page_says_whether_its_result_is_better_and_what_it_has_forgotten(
    site: Site, page: Page
) -> None:
    job_id = site.create_job(validated=True, epochs=1, suffix="judged", evaluate={})
    plain = site.create_job(validated=True, epochs=1, suffix="plain")
    site.finish(job_id, plain)
    page.goto(f"/jobs/{job_id}")
    section = page.get_by_role("region", name="Is it better?", exact=True)
    expect(section.get_by_text("queued")).to_have_count(4)
    for judging in evals_of(site.tenant, job_id):
        runs = runs_of(site.tenant, judging["id"])
        finish(site, runs["base"], base_records())
        finish(site, runs["tuned"], tuned_records())
    expect(section.get_by_role("table")).to_have_count(2)
    result = section.get_by_role("region", name="Result against the base model")
    expect(result.get_by_role("row").filter(has_text="loss")).to_contain_text("better")
    expect(section.get_by_role("region", name="General questions")).to_contain_text("exact_match")
    found = in_both_themes(page)

    page.goto(f"/compare?jobs={job_id},{plain}")
    results = page.get_by_role("region", name="Results").get_by_role("table")
    expect(results.get_by_role("columnheader", name="Eval: exact_match")).to_be_visible()
    found += in_both_themes(page)
    page.goto(f"/adapters/{site.tenant.job(job_id)['adapter_id']}")
    expect(page.get_by_role("region", name="Result against the base model")).to_contain_text("better")
    page.get_by_role("link", name="Rows and details").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(job_id)
    assert found == []

    page.goto(f"/jobs/{plain}")
    section.get_by_role("button", name="Evaluate").click()
    expect(section.get_by_text("queued")).to_have_count(2)
    (made,) = evals_of(site.tenant, plain)
    assert [criterion["name"] for criterion in made["testing_criteria"]] == ["loss", "exact_match"]
    assert set(runs_of(site.tenant, made["id"])) == {"base", "tuned"}
