"""Evals: whether a model is better, by which rows, and where that is shown.

No process of an eval runs here: the tests do what it would do.
"""

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from core.evals.results import Record
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Tenant, dataset
from tests.fixtures.service.pages import SCRIPT, expect_nothing_struck, in_both_themes
from tests.fixtures.service.site import PHONE, Site, Visit
from tests.fixtures.work.evals_api import (
    EVALS,
    answered,
    finish_run,
    judged,
    make_eval,
    make_run,
    measured,
    take_run,
)
from tests.fixtures.work.imports import imported_at_once

ROWS = 24
LOSS_AND_MATCH = [{"type": "loss", "name": "loss"}, {"type": "exact_match", "name": "exact_match"}]


def base_records() -> list[Record]:
    return [answered(row, "yes" if row % 4 == 0 else "no, it is not", 2 + row / 50) for row in range(ROWS)]


def tuned_records() -> list[Record]:
    """Better in most rows; worse in the first; the last could not be judged."""
    records = [answered(row, "yes", 1 + row / 60) for row in range(ROWS)]
    records[0] = answered(0, SCRIPT, 3.5)
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


def test_two_runs_are_compared_and_the_rows_that_changed_shown_with_both_answers(
    site: Site, page: Page
) -> None:
    page.goto("/evals")
    expect(page.get_by_text("No eval yet.")).to_be_visible()
    eval_id = make_eval(site.tenant, name="short answers", testing_criteria=LOSS_AND_MATCH)
    base, tuned = (evaluated(site, eval_id) for _ in range(2))
    finish(site, base, base_records())
    page.reload()
    row = page.get_by_role("row").filter(has_text="short answers")
    expect(row).to_contain_text("loss, exact_match")
    expect(row).to_contain_text("queued")
    found = in_both_themes(page)

    row.get_by_role("link", name="short answers").click()
    runs = page.get_by_role("region", name="Runs").get_by_role("table")
    expect(runs.get_by_role("row")).to_have_count(3)
    expect(page.get_by_role("heading", name="Comparison")).to_have_count(0)
    finish(site, tuned, tuned_records())
    comparison = page.get_by_role("region", name="Comparison").get_by_role("table")
    expect(comparison.get_by_role("row").filter(has_text="exact_match")).to_contain_text("better")
    expect(page.get_by_text("1 row left out")).to_be_visible()
    expect(page.get_by_text("It could not be judged.")).to_be_visible()
    changed = page.get_by_role("region", name="Rows that changed")
    expect(changed.get_by_role("listitem")).to_have_count(10)
    changed.get_by_role("button", name="Show more").click()
    expect(changed.get_by_role("listitem")).to_have_count(20)
    changed.get_by_role("button", name="worse").click()
    expect(changed.get_by_role("listitem")).to_have_count(1)
    expect(changed.get_by_role("region", name="Tuned model on row 1")).to_have_text(SCRIPT)
    expect(changed.get_by_role("region", name="Expected in row 1")).to_have_text("yes")
    expect(changed.locator("mark").first).to_be_visible()
    changed.get_by_label("Criterion").select_option("exact_match")
    page.reload()
    expect(changed.get_by_label("Criterion")).to_have_value("exact_match")
    expect(changed.get_by_role("region", name="Prompt of row 1")).to_have_text("question 0")
    found += in_both_themes(page)
    expect_nothing_struck(page)
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert found + in_both_themes(page) == []


def evaluated(site: Site, eval_id: str) -> str:
    """Create a run that asks for each row's own answer, on a training file."""
    source = {"type": "file_id", "id": site.tenant.upload(dataset(ROWS))}
    asked = {"data_source": {"type": "completions", "model": TINY, "source": source}}
    answer = site.tenant.http.post(f"{EVALS}/{eval_id}/runs", json=asked)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def test_a_run_is_cancelled_and_deleted_and_an_eval_too(site: Site, page: Page) -> None:
    eval_id = make_eval(site.tenant)
    run_id = make_run(site.tenant, eval_id, model=TINY)
    take_run(site.api, run_id)
    page.goto(f"/evals/{eval_id}")
    runs = page.get_by_role("region", name="Runs").get_by_role("table")
    expect(runs.get_by_role("progressbar")).to_be_visible()
    runs.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel run").click()
    expect(runs).to_contain_text("cancelled")
    page.goto(f"/evals/{eval_id}?base=evalrun-gone")
    expect(page.get_by_text("evalrun-gone")).to_be_visible()
    runs.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("will be deleted for good")).to_be_visible()
    assert in_both_themes(page) == []
    page.get_by_role("button", name="Delete run").click()
    expect(page.get_by_text("No run yet.")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete eval").click()
    expect(page.get_by_text("No eval yet.")).to_be_visible()


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


def test_an_imported_adapter_is_evaluated_on_a_chosen_file_and_one_screen_says_whether_it_is_better(
    site: Site, page: Page, tmp_path: Path
) -> None:
    adapter_id, model = imported_at_once(site.api, site.tenant, tmp_path)
    site.tenant.upload(dataset(ROWS), name="held-out.jsonl")
    page.goto(f"/adapters/{adapter_id}")
    section = page.get_by_role("region", name="Is it better?", exact=True)
    expect(section).to_contain_text("It was not compared with its base model yet.")
    section.get_by_label("File, with rows that it was not trained on").select_option(
        label=f"held-out.jsonl · {ROWS} rows"
    )
    section.get_by_label("Rows (empty: all)").fill(str(ROWS - 1))
    found = in_both_themes(page)
    section.get_by_role("button", name="Evaluate").click()
    expect(section.get_by_text("queued")).to_have_count(2)

    (made,) = site.tenant.http.get(EVALS, params={"model": model}).json()["data"]
    assert [criterion["name"] for criterion in made["testing_criteria"]] == ["loss", "exact_match"]
    runs = runs_of(site.tenant, made["id"])
    shown = site.tenant.http.get(f"{EVALS}/{made['id']}/runs/{runs['tuned']}").json()
    assert (shown["model"], shown["data_source"]["source"]["limit"]) == (model, ROWS - 1)
    finish(site, runs["base"], base_records())
    finish(site, runs["tuned"], tuned_records())
    result = section.get_by_role("region", name="Result against the base model")
    expect(result.get_by_role("row").filter(has_text="loss")).to_contain_text("better")
    expect(result.get_by_role("row").filter(has_text="loss")).to_contain_text("to")
    improved = section.get_by_role("list", name="Most improved by loss").get_by_role("listitem")
    expect(improved).to_have_count(3)
    worsened = section.get_by_role("list", name="Most worsened by loss").get_by_role("listitem")
    expect(worsened).to_have_count(1)
    worsened.locator("summary").click()
    expect(worsened.get_by_role("region", name="Tuned model on row 1")).to_have_text(SCRIPT)
    expect_nothing_struck(page)
    section.get_by_text("Evaluate on another file").click()
    expect(section.get_by_role("button", name="Evaluate")).to_be_visible()
    found += in_both_themes(page)
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert found + in_both_themes(page) == []


def test_a_refused_evaluation_says_why_and_can_be_tried_again(site: Site, page: Page, visit: Visit) -> None:
    refusal = "Failed to load resource: the server responded with a status of"
    visit.allow(f"{refusal} 400", f"{refusal} 404")
    job_id = site.create_job(validated=True, epochs=1)
    site.finish(job_id)
    file_id = site.tenant.job(job_id)["validation_file"]
    assert site.tenant.http.delete(f"/v1/files/{file_id}").status_code == 200
    page.goto(f"/jobs/{job_id}")
    section = page.get_by_role("region", name="Is it better?", exact=True)
    section.get_by_role("button", name="Evaluate").click()
    expect(section.get_by_role("alert")).to_contain_text(file_id)
    expect(section.get_by_role("button", name="Evaluate")).to_be_enabled()
    assert evals_of(site.tenant, job_id) == []


def test_the_form_asks_for_an_evaluation_if_there_are_rows_to_judge(site: Site, page: Page) -> None:
    validation = site.tenant.upload(dataset(8), name="held-out.jsonl")
    site.tenant.upload(name="train.jsonl")
    page.goto("/new")
    evaluate = page.get_by_label("Evaluate against the base model")
    expect(page.get_by_label("Validation file", exact=True)).to_be_visible()
    expect(evaluate).to_have_count(0)
    page.get_by_label("Validation file", exact=True).select_option(validation)
    evaluate.check()
    request = page.get_by_role("region", name="POST /v1/fine_tuning/jobs")
    expect(request).to_contain_text("evaluate")
    assert json.loads(request.inner_text())["evaluate"] == {}
    assert in_both_themes(page) == []


def test_an_adapter_s_page_shows_what_came_before_and_after_it(site: Site, page: Page) -> None:
    parent = site.create_job(epochs=1, suffix="first")
    site.finish(parent)
    first = site.tenant.job(parent)
    child = site.create_job(epochs=1, suffix="second", model=first["fine_tuned_model"])
    site.finish(child)
    second = site.tenant.job(child)
    alias = {"name": "production", "model": second["fine_tuned_model"]}
    assert site.tenant.http.post("/v1/aliases", json=alias).status_code == 200

    page.goto(f"/adapters/{first['adapter_id']}")
    family = page.get_by_role("region", name="Before and after")
    family.get_by_role("link", name=second["fine_tuned_model"]).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(second["fine_tuned_model"])
    expect(family).to_contain_text("Nothing has been made from it yet.")
    expect(family).to_contain_text("production")
    expect(family.get_by_role("link", name=first["fine_tuned_model"])).to_be_visible()
    use = page.get_by_role("region", name="Use it")
    expect(use.get_by_role("region", name="The openai package")).to_contain_text(second["fine_tuned_model"])
    use.get_by_role("button", name="curl").click()
    expect(use.get_by_role("region", name="A shell with curl")).to_contain_text(f"{site.api.url}/v1/chat")
    found = in_both_themes(page)
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert found + in_both_themes(page) == []
