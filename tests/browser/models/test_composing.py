"""Adapters are composed in a form. No worker runs here: the test does what a task's process would do."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.fixtures.service.api import dataset
from tests.fixtures.service.pages import in_both_themes
from tests.fixtures.service.site import Site
from tests.fixtures.work.compositions import AT, work_on
from tests.fixtures.work.taking import take


@pytest.mark.exhaustive
def test_adapters_are_composed_with_weights_that_a_search_finds(page: Page, site: Site) -> None:
    site.tenant.upload(dataset(12), name="held-out.jsonl")
    jobs = [site.create_job(suffix=suffix) for suffix in ("sql", "intents")]
    site.finish(*jobs)
    sql, intents = (str(site.tenant.job(job_id)["fine_tuned_model"]) for job_id in jobs)
    page.goto(f"/adapters/{site.tenant.job(jobs[0])['adapter_id']}")
    page.get_by_role("link", name="Compose", exact=True).click()
    expect(page.get_by_label(f"Weight of {sql}")).to_have_value("1")
    expect(page.get_by_text("Add at least two adapters of one base model.")).to_be_visible()
    expect(page.get_by_text("No composition.")).to_be_visible()
    send = page.get_by_role("button", name="Compose", exact=True)
    expect(send).to_be_disabled()

    page.get_by_role("button", name="Add an adapter…").press("Enter")
    offered = page.get_by_role("listbox", name="Found").get_by_role("option")
    expect(offered).to_have_count(1)  # not the one that is chosen
    page.get_by_label("Model or base model").press("Enter")
    page.get_by_label(f"Weight of {intents}").fill("-0.5")
    page.get_by_label("Method").select_option("cat")
    page.get_by_label("Name").fill("both")
    page.get_by_label("Search for better weights").check()
    expect(page.get_by_text("Choose at least one file to search on.")).to_be_visible()
    page.get_by_label("held-out.jsonl").check()
    page.get_by_label("Trials").fill("3")
    found = in_both_themes(page)
    send.click()

    line = line_of(page, "cat of 2 adapters, both")
    expect(line).to_contain_text("queued")
    work_on(site.api, take(site.api, newest(site)))
    expect(line).to_contain_text("succeeded")
    expect(line).to_contain_text("Rank 32")
    line.get_by_text("Trials of the search").click()
    expect(line.get_by_role("row").nth(1)).to_contain_text("1.000, -0.5000")
    assert found + in_both_themes(page) == []
    line.get_by_role("link").click()
    family = page.get_by_role("region", name="Before and after")
    expect(family.get_by_role("link", name=sql)).to_be_visible()


def line_of(page: Page, words: str) -> Locator:
    lines = page.get_by_role("region", name="Compositions").get_by_role("listitem")
    return lines.filter(has_text=words).first


def newest(site: Site) -> str:
    return str(site.tenant.http.get(AT).json()["data"][0]["id"])
