"""What is done with several jobs at once, and what the keyboard reaches from anywhere."""

from playwright.sync_api import Page, expect

from tests.fixtures.service.pages import queued
from tests.fixtures.service.site import Site


def test_what_is_chosen_by_the_arrows_is_in_sight(site: Site, page: Page) -> None:
    job_id = queued(site, "here")
    page.set_viewport_size({"width": 390, "height": 400})
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text("here")
    page.keyboard.press("Control+k")
    options = page.get_by_role("listbox").get_by_role("option")
    expect(options.filter(has_text="paused job")).to_have_count(1)
    page.keyboard.press("ArrowUp")
    expect(options.last).to_have_attribute("aria-selected", "true")
    expect(options.last).to_be_in_viewport(ratio=1)
    page.keyboard.press("ArrowDown")
    expect(options.first).to_be_in_viewport(ratio=1)
