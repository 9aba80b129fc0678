"""The page /docs, which shows the API's operations."""

import pytest
from playwright.sync_api import Request, expect

from tests.fixtures.service.api import wait_for
from tests.fixtures.service.site import PAGE_SECONDS, Site

SCROLL_ON = """() => {
    const {scrollTop, clientHeight, scrollHeight} = document.scrollingElement;
    const isAtEnd = scrollTop + clientHeight >= scrollHeight - 1;
    document.scrollingElement.scrollTo(0, isAtEnd ? 0 : scrollTop + clientHeight);
}"""

OPEN_SESSION = """() => {
    const session = document.querySelector(".opblock-get [data-path='/v1/session']");
    session?.scrollIntoView({block: "center"});
    session?.click();
    return session !== null;
}"""


@pytest.mark.exhaustive
def test_it_shows_every_operation_and_loads_nothing_from_elsewhere(site: Site) -> None:
    operations = sum(len(path) for path in site.api.app.openapi()["paths"].values())
    asked: list[str] = []
    with site.visit() as visit:

        def note(request: Request) -> None:
            asked.append(request.url)

        visit.page.on("request", note)
        answer = visit.page.goto("/docs")
        assert answer is not None
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        expect(visit.page.get_by_role("heading", name="Tunery")).to_be_visible()
        blocks, seen = visit.page.locator(".opblock"), set[str]()

        def all_are_seen() -> bool:
            """Look and scroll on: of so many operations, the page holds only those near the screen.

            A busy browser may draw nothing between two looks. So the way goes on from the top after the end.
            """
            seen.update(blocks.evaluate_all("blocks => blocks.map(block => block.id)"))
            visit.page.evaluate(SCROLL_ON)
            return len(seen) == operations

        wait_for(all_are_seen, PAGE_SECONDS)

        def it_is_opened() -> bool:
            """Open it, or scroll on: the page may let go of what it holds at any moment."""
            opened = bool(visit.page.evaluate(OPEN_SESSION))
            if not opened:
                visit.page.evaluate(SCROLL_ON)
            return opened

        wait_for(it_is_opened, PAGE_SECONDS)
        visit.page.get_by_role("button", name="Try it out").click()
        visit.page.get_by_role("button", name="Execute").click()
        expect(visit.page.locator(".responses-inner").first).to_contain_text(site.tenant.project)
    elsewhere = [url for url in asked if not url.startswith((f"{site.api.url}/", "data:", "blob:"))]
    assert elsewhere == []
