"""A job from an empty form to its adapter on the disk."""

import json
import re
from pathlib import Path
from zipfile import ZipFile

from playwright.sync_api import Page, expect

from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import dataset, wait_for
from tests.fixtures.service.pages import downloaded, file_of, newest_step, settled
from tests.fixtures.service.site import END_SECONDS, Site

ROWS, EPOCHS, BATCH, RANK = 80, 4, 4, 3
STEPS = ROWS // BATCH * EPOCHS
PLACE = "element => element.getBoundingClientRect().y + scrollY"  # on the page, however far it is scrolled


def fill_in(page: Page, content: bytes) -> None:
    page.goto("/new")
    page.get_by_label("Base model", exact=True).select_option(TINY)
    page.get_by_label("Upload a training file").set_input_files(file_of(content))
    expect(page.get_by_label("Training file", exact=True)).to_have_value(re.compile("file-"))


def test_a_job_is_put_together_watched_and_its_adapter_taken(site: Site, page: Page, tmp_path: Path) -> None:
    fill_in(page, dataset(ROWS))
    page.get_by_label("Name suffix").fill("by-form")
    page.get_by_label("Rank r", exact=True).fill(str(RANK))
    page.get_by_label("n_epochs").fill(str(EPOCHS))
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("batch_size").fill(str(BATCH))
    review = page.get_by_role("region", name="Review")
    expect(review).to_contain_text(f'"r": {RANK}')
    page.reload()
    expect(review).to_contain_text(f'"r": {RANK}')
    expect(page.get_by_label("Training file", exact=True)).to_contain_text("rows.jsonl")
    review.get_by_role("button", name="Create job").dblclick()

    expect(page.get_by_role("heading", level=1)).to_have_text("by-form")
    page.get_by_role("button", name="Table of Loss").click()
    wait_for(lambda: newest_step(page) > 1, END_SECONDS)
    page.reload()
    expect(page.get_by_text("The job has ended")).to_be_visible()
    assert [int(row["step"]) for row in downloaded(page, tmp_path)] == list(range(1, STEPS + 1))

    with page.expect_download() as download:
        page.get_by_role("link", name="Adapter", exact=True).click()
    download.value.save_as(tmp_path / "adapter.zip")
    with ZipFile(tmp_path / "adapter.zip") as adapter:
        assert json.loads(adapter.read("adapter_config.json"))["r"] == RANK
    assert len(site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"]) == 1, "a double click makes one"


def test_a_wrong_value_moves_nothing_on_the_page(page: Page) -> None:
    page.goto("/new")
    page.get_by_text("Advanced", exact=True).click()
    settled(page)
    for name, wrong in (("Rank r", "none"), ("n_epochs", "0"), ("batch_size", "many"), ("warmup_ratio", "2")):
        field = page.get_by_label(name, exact=name == "Rank r")
        below = page.get_by_label("Seed", exact=False).last
        before = below.evaluate(PLACE)
        field.fill(wrong)
        field.press("Tab")
        expect(field).to_have_accessible_description(re.compile("It must be"))
        assert below.evaluate(PLACE) == before, name


def test_a_click_from_a_wrong_value_hits_what_was_under_the_pointer(page: Page) -> None:
    page.goto("/new")
    page.get_by_label("n_epochs").fill("0")
    settled(page)
    adapter = page.get_by_role("searchbox", name="Search the adapters")
    box = adapter.bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] / 2)
    page.mouse.down()
    expect(page.get_by_label("n_epochs")).not_to_be_focused()
    expect(page.get_by_label("n_epochs")).to_have_attribute("aria-invalid", "false")
    page.mouse.up()
    expect(adapter).to_be_focused()
    expect(page.get_by_label("n_epochs")).to_have_attribute("aria-invalid", "true")
