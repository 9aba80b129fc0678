"""One-time links: they tell whose key they act for, and sign in only if the reader agrees."""

from playwright.sync_api import Page, expect

from tests.fixtures.service.pages import NO_ANSWER, in_both_themes
from tests.fixtures.service.site import Site, Visit

NOT_SIGNED_IN = f"{NO_ANSWER}: the server responded with a status of 401"


def link_to(site: Site) -> str:
    return str(site.tenant.http.post("/v1/session/links").json()["path"])


def is_signed_in(page: Page) -> bool:
    return page.context.request.get("/v1/session").ok


def open_link(visit: Visit, link: str) -> Page:
    visit.allow(NOT_SIGNED_IN)
    visit.page.goto(link)
    return visit.page


def test_a_link_asks_before_it_signs_in_to_somebodys_project(site: Site) -> None:
    link = link_to(site)
    with site.visit(signed_in=False) as visit:
        page = open_link(visit, link)
        expect(page.get_by_role("definition")).to_have_text([site.tenant.project, "test", "member"])
        assert "tnl_" not in page.url
        assert in_both_themes(page) == []
        assert not is_signed_in(page)
        page.get_by_role("button", name="Do not sign in").click()
        expect(page.get_by_label("API key")).to_be_visible()
        assert not is_signed_in(page)
    with site.visit(signed_in=False) as visit:
        page = open_link(visit, link)
        page.get_by_role("button", name="Sign in to this project").click()
        expect(page.get_by_role("heading", name="No job yet")).to_be_visible()
        expect(page.get_by_role("banner")).to_contain_text(site.tenant.project)
