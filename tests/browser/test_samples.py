"""What a model answers while it trains, as somebody reads it beside the curves."""

import json
import re

from playwright.sync_api import Page, expect

from core.ids import new_id
from core.tables import Event
from tests.fixtures.api import row
from tests.fixtures.pages import SCRIPT, expect_nothing_struck, in_both_themes
from tests.fixtures.site import Site


def test_answers_of_each_evaluation_stand_beside_what_was_expected(site: Site, page: Page) -> None:
    held_out = (json.dumps(row("an expected answer")) + "\n").encode() * 2
    job_id = site.create_job(
        validation_file=site.tenant.upload(held_out),
        hyperparameters={"n_epochs": 2, "batch_size": 12},
        training={"eval_samples": 1, "eval_max_new_tokens": 3},
    )
    page.goto(f"/jobs/{job_id}")
    samples = page.get_by_role("region", name="Samples")
    expect(samples.get_by_role("region", name="Expected")).to_have_text("an expected answer")
    expect(samples.get_by_role("region", name="Prompt of line 1")).to_be_visible()
    site.finish(job_id)
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
    expect(samples.get_by_role("region", name="Answer")).to_have_text(SCRIPT)
    expect(samples).to_contain_text("an answer to avoid")
    assert in_both_themes(page) == []
    expect_nothing_struck(page)
    picker.select_option("newest")
    expect(samples.get_by_role("region", name="Prompt of line 1")).to_be_visible()


def test_a_job_without_samples_has_no_place_for_them(site: Site, page: Page) -> None:
    page.goto(f"/jobs/{site.create_job()}")
    expect(page.get_by_role("heading", name=re.compile("Log"))).to_be_visible()
    expect(page.get_by_role("heading", name="Samples")).to_have_count(0)
