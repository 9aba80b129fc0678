"""A job that learns from rewards, from the form to its answers."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.pages import file_of
from tests.fixtures.service.rewards import GRADER, HYPERPARAMETERS, prompts
from tests.fixtures.service.site import END_SECONDS, PHONE, Site

GRADER_FIELD = re.compile("^Grader, as JSON")  # not the audit's
WHOLE_PAGE = "() => document.documentElement.scrollWidth <= innerWidth"
VALIDATIONS = 4  # before training, and after steps 2, 4 and 6
TYPES = ("string_check", "text_similarity", "score_model", "python", "multi")


def fill_in(page: Page) -> None:
    page.goto("/new")
    page.get_by_role("button", name=re.compile("^Rewards")).click()
    for name, count in (("training", 24), ("validation", 10)):
        page.get_by_label(f"Upload a {name} file").set_input_files(file_of(prompts(count), f"{name}.jsonl"))
        expect(page.get_by_label(f"{name.capitalize()} file", exact=True)).to_have_value(re.compile("file-"))
    page.get_by_label("Base model", exact=True).select_option(TINY)


def write_grader(page: Page) -> None:
    page.get_by_label(GRADER_FIELD).fill(json.dumps(GRADER, indent=2))


def test_a_job_with_a_grader_is_put_together_and_its_rewards_are_seen(site: Site, page: Page) -> None:
    fill_in(page)
    write_grader(page)
    expect(page.get_by_text("The service can use this grader.")).to_be_visible()
    page.get_by_text("Try it on one row").click()
    expect(page.get_by_label("Row, as JSON")).to_have_value(re.compile("wanted"))
    page.get_by_label("Answer", exact=True).fill("tea!")
    page.get_by_role("button", name="Grade", exact=True).click()
    expect(page.get_by_text("Reward 0.7500")).to_be_visible()
    page.get_by_label("Name suffix").fill("by-rewards")
    page.get_by_text("Advanced", exact=True).click()
    for name, value in HYPERPARAMETERS.items():
        page.get_by_label(name, exact=False).first.fill(str(value))
    page.get_by_label("mask_truncated").uncheck()
    page.get_by_role("button", name="Create job").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("by-rewards")
    expect(page.get_by_text("Validation reward, first and last")).to_be_visible(timeout=END_SECONDS * 1000)
    curves = page.get_by_role("region", name="Curves")
    expect(curves.get_by_role("img", name="Mean reward by step")).to_be_visible()
    expect(curves.get_by_role("img", name="Loss by step")).to_have_count(0)
    for title in ("Completion length", "Truncated share", "Entropy", "Policy gap", "Groups without variance"):
        expect(curves.get_by_role("heading", name=title)).to_be_visible()
    answers = page.get_by_role("region", name="Answers")
    expect(answers.get_by_text(re.compile(r"^reward \d"))).to_have_count(3 * VALIDATIONS)
    answers.get_by_label("Order of the prompts").select_option("what became better first")
    gains = answers.get_by_text("Change of the reward from first to last").all_inner_texts()
    found = [float(re.sub(r".*: ", "", gain)) for gain in gains]
    assert found == sorted(found, reverse=True)
    (job,) = site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"]
    assert job["method"]["reinforcement"]["grader"]["source"] == GRADER["source"]

    page.goto(f"/new?from={job['id']}")
    expect(page.get_by_label(GRADER_FIELD)).to_have_value(re.compile("likes_letters"))
    page.set_viewport_size(PHONE)
    assert page.evaluate(WHOLE_PAGE), "nothing is wider than a phone"
    page.goto(f"/jobs/{job['id']}")
    expect(curves.get_by_role("img", name="Mean reward by step")).to_be_visible()
    assert page.evaluate(WHOLE_PAGE)


@pytest.mark.parametrize("kind", TYPES)
def test_each_example_of_a_grader_can_be_used(page: Page, kind: str) -> None:
    page.goto("/new")
    page.get_by_role("button", name=re.compile("^Rewards")).click()
    page.get_by_label("Base model", exact=True).select_option(TINY)
    examples = page.get_by_label("Start from an example")
    (words,) = [text for text in examples.locator("option").all_inner_texts() if kind in text]
    examples.select_option(words)
    expect(page.get_by_text("The service can use this grader.")).to_be_visible()
