"""axe finds nothing serious on any page, in light and in dark."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.fixtures.site import Site

GRAVE = {"serious", "critical"}


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{page.url} {each['id']}: {node['html']} {node['failureSummary']}"
        for each in found
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]


def in_both_themes(page: Page) -> list[str]:
    found = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        found += violations(page)
    return found


def test_the_sign_in(site: Site) -> None:
    with site.visit(signed_in=False) as visit:
        visit.allow("Failed to load resource: the server responded with a status of 401")
        visit.page.goto("/jobs")
        expect(visit.page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert in_both_themes(visit.page) == []


def test_pages_of_a_project_without_a_job(page: Page) -> None:
    page.goto("/jobs")
    expect(page.get_by_role("heading", name="No job yet")).to_be_visible()
    found = in_both_themes(page)
    page.goto("/nowhere")
    expect(page.get_by_role("heading", name="No such page")).to_be_visible()
    assert found + in_both_themes(page) == []


def test_jobs_and_what_belongs_to_one(site: Site, page: Page) -> None:
    ended = site.create_job(validated=True, suffix="ended")
    site.create_long_job(suffix="runs")
    site.finish(ended)
    page.goto("/jobs")
    expect(page.get_by_role("link", name="runs")).to_be_visible()
    found = in_both_themes(page)
    page.get_by_role("button", name="Keyboard help").click()
    found += in_both_themes(page)
    page.goto(f"/jobs/{ended}")
    expect(page.get_by_role("img", name="Loss by step")).to_be_visible()
    expect(page.get_by_text("sha256").first).to_be_visible()
    found += in_both_themes(page)
    page.get_by_role("button", name="Table of Loss").click()
    assert found + in_both_themes(page) == []
