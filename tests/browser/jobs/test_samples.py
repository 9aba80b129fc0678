"""What a model answers while it trains, as somebody reads it beside the curves."""

import json
import re

from playwright.sync_api import Page, expect

from core.ids import new_id
from core.tables import Event
from tests.fixtures.service.api import row
from tests.fixtures.service.pages import SCRIPT, expect_nothing_struck, in_both_themes
from tests.fixtures.service.site import Site


def test_answers_of_each_evaluation_stand_beside_what_was_expected(site: Site, page: Page) -> None:
    held_out = (json.dumps(row("an expected answer")) + "\n").encode() * 2
    job_id = site.create_job(
        validation_file=site.tenant.upload(held_out),
        hyperparameters={"n_epochs": 2, "batch_size": 12},
        training={"eval_samples": 1, "eval_max_new_tokens": 3},
    )
    page.goto(f"/jobs/{job_id}")
    samples = page.get_by_role("region", name="Answers")
    expect(samples.get_by_role("group", name="Expected")).to_have_text("an expected answer")
    expect(samples.get_by_role("group", name="Prompt of line 1")).to_be_visible()
    expect(samples.get_by_role("group", name="Before training")).to_be_visible()
    site.finish(job_id)
    expect(samples.get_by_role("group", name="After step 2")).to_be_visible()
    expect(samples).to_contain_text("Exactly as expected: 0 of 1 before training, 0 of 1 after step 2.")
    picker = samples.get_by_label("Evaluation")
    expect(picker.locator("option").first).to_have_text("newest, step 2")
    answers = {"step": 1, "rows": [{"line": 7, "prompt": SCRIPT, "expected": None, "answer": SCRIPT}]}
    with site.api.sessions.begin() as session:
        told = Event(
            id=new_id("ftevent-"), job_id=job_id, level="info", type="samples", message="", data=answers
        )
        session.add(told)
    page.reload()
    picker.select_option("1")
    expect(samples.get_by_role("group", name="After step 1")).to_have_text(SCRIPT)
    expect(samples).to_contain_text("an answer to avoid")
    assert in_both_themes(page) == []
    expect_nothing_struck(page)
    picker.select_option("newest")
    expect(samples.get_by_role("group", name="Prompt of line 1")).to_be_visible()


def test_a_job_without_samples_has_no_place_for_them(site: Site, page: Page) -> None:
    page.goto(f"/jobs/{site.create_job()}")
    expect(page.get_by_role("heading", name=re.compile("Log"))).to_be_visible()
    expect(page.get_by_role("heading", name="Answers")).to_have_count(0)


def test_a_job_that_succeeded_says_what_it_has_made_and_what_comes_next(site: Site, page: Page) -> None:
    job_id = site.create_job(epochs=2, validated=True, training={"eval_max_new_tokens": 2})
    site.finish(job_id)
    model = site.tenant.job(job_id)["fine_tuned_model"]
    page.goto(f"/jobs/{job_id}")
    result = page.get_by_role("region", name="Result")
    expect(result).to_contain_text(re.compile(r"Validation loss, first and last\s*\d\.\d+ → \d\.\d+"))
    expect(result).to_contain_text(re.compile(r"before and after\s*\d of 3 → \d of 3"))
    result.get_by_text("Load it in PEFT or vLLM").click()
    expect(result).to_contain_text("model.generate(")
    expect(result.get_by_role("link", name="Evaluate it")).to_have_attribute("href", "#evaluation")
    assert in_both_themes(page) == []
    result.get_by_role("link", name="Train it further").click()
    expect(page.get_by_label("Base model", exact=True)).to_have_value(model)


def test_answers_of_several_jobs_stand_beside_each_other(site: Site, page: Page) -> None:
    files = {"training_file": site.tenant.upload(), "validation_file": site.tenant.upload()}
    training = {"eval_max_new_tokens": 2}
    jobs = [site.create_job(suffix=f"try-{each}", epochs=1, training=training, **files) for each in range(2)]
    site.finish(*jobs)
    page.goto(f"/compare?jobs={','.join(jobs)}")
    answers = page.get_by_role("region", name="Answers")
    expect(answers.get_by_role("group", name="Expected")).to_have_count(3)
    for name in ("try-0", "try-1"):
        expect(answers).to_contain_text(re.compile(rf"{name}: \d of 3 as expected"))
        expect(answers.get_by_role("group", name=name)).to_have_count(3)
