"""The docs that the service serves itself."""

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.service.pages import in_both_themes
from tests.fixtures.service.site import PHONE


def test_a_page_of_the_docs_is_found_by_words_read_and_left_by_its_links(page: Page) -> None:
    page.goto("/jobs")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Docs").click()
    contents = page.get_by_role("navigation", name="Docs")
    contents.get_by_role("searchbox").fill("webhook signature")
    found = contents.get_by_role("list", name="Pages found")
    expect(found.get_by_role("link").first).to_be_visible()
    contents.get_by_role("searchbox").fill("")
    contents.get_by_role("link", name="Chat through vLLM").click()
    article = page.get_by_role("article")
    expect(article.get_by_role("heading", level=1)).to_be_visible()
    assert in_both_themes(page) == []
    inside = article.locator("a[href^='/guide/']").first
    target = str(inside.get_attribute("href")).partition("#")[0]
    inside.click()
    page.wait_for_url(f"**{target}**")
    expect(page.get_by_role("article").get_by_role("heading", level=1)).to_be_visible()


@pytest.mark.exhaustive
def test_on_a_phone_the_text_comes_first_and_all_pages_are_reached(page: Page) -> None:
    page.set_viewport_size(PHONE)
    page.goto("/guide/how-to/chat")
    title = page.get_by_role("article").get_by_role("heading", level=1)
    expect(title).to_be_in_viewport()
    contents = page.get_by_role("navigation", name="Docs")
    expect(contents.get_by_role("link")).to_have_count(0)
    contents.get_by_role("button", name="All pages").click()
    assert in_both_themes(page) == []
    contents.get_by_role("link", name="Chat through vLLM").click()
    expect(title).to_have_text("Chat through vLLM")
    expect(title).to_be_in_viewport()

    pages = page.get_by_role("navigation", name="Pages")
    expect(pages.get_by_role("link")).to_have_count(4)
    for more, name, path in (("Docs", "Settings", "/settings"), ("Settings", "Adapters", "/adapters")):
        pages.get_by_role("button", name=more).click()
        for link in pages.get_by_role("link").all():
            expect(link).to_be_in_viewport(ratio=1)
        assert in_both_themes(page) == []
        pages.get_by_role("link", name=name).click()
        page.wait_for_url(f"**{path}")
        expect(pages.get_by_role("link")).to_have_count(4)
    pages.get_by_role("button", name="Adapters").click()
    page.keyboard.press("Escape")
    expect(pages.get_by_role("link")).to_have_count(4)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_the_docs_begin_with_the_first_steps_and_lead_from_openai(page: Page) -> None:
    page.goto("/guide")
    expect(page.get_by_role("article").get_by_role("heading", level=1)).to_have_text("First steps")
    pages = page.get_by_role("navigation", name="Docs").locator("details[open]")
    expect(pages.first.get_by_role("link")).to_have_text(["First steps"])
    expect(pages.nth(1).get_by_role("link", name="Coming from OpenAI")).to_be_visible()
