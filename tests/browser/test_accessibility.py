"""axe finds nothing serious on any page, in light and in dark."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.fixtures.site import Site, administered

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


def test_files_and_adapters(site: Site, page: Page) -> None:
    job_id = site.create_job(validated=True, suffix="ended")
    site.finish(job_id)
    job = site.tenant.job(job_id)
    found = []
    for path, words in (
        ("/files", "train.jsonl"),
        (f"/files/{job['training_file']}", "answer 0"),
        ("/adapters", "ended"),
        (f"/adapters/{job['adapter_id']}", "path/to/this/folder"),
        (f"/new?from={job_id}", "Left to the service"),
        ("/compare", "select some in the list"),
    ):
        page.goto(path)
        expect(page.get_by_text(words).first).to_be_visible()
        found += in_both_themes(page)
    page.goto(f"/files/{job['training_file']}")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("1 job used it")).to_be_visible()
    assert found + in_both_themes(page) == []


def test_the_form_of_a_new_job_empty_and_with_problems(page: Page) -> None:
    page.goto("/new")
    expect(page.get_by_role("button", name="Create job")).to_be_visible()
    found = in_both_themes(page)
    page.get_by_label("r", exact=True).fill("none at all")
    page.get_by_text("More training options").click()
    page.get_by_role("button", name="Add a name").click()
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("alert")).to_be_focused()
    assert found + in_both_themes(page) == []


def test_workers_with_jobs(site: Site, page: Page) -> None:
    site.create_long_job(suffix="held")
    page.goto("/workers")
    expect(page.get_by_role("link", name="held")).to_be_visible()
    assert in_both_themes(page) == []


def test_settings_and_each_of_their_parts(site: Site) -> None:
    with administered(site).visit() as visit:
        page = visit.page
        page.goto("/settings")
        page.get_by_label("Name").fill("notebook")
        page.get_by_role("button", name="Create key").click()
        expect(page.get_by_role("dialog", name="The new key")).to_be_visible()
        found = in_both_themes(page)
        page.goto("/settings?part=webhooks")
        page.get_by_label("Name").fill("hook")
        page.get_by_label("URL").fill("https://127.0.0.1:9/hook")
        page.get_by_role("button", name="Create endpoint").click()
        page.get_by_role("button", name="I have copied it").click()
        page.get_by_role("button", name="Deliveries").click()
        expect(page.get_by_role("button", name="New secret")).to_be_visible()
        found += in_both_themes(page)
        for part, words in (
            ("keys", "notebook"),
            ("secrets", "No secret."),
            ("usage", "the last 30 days"),
            ("audit", "api key created"),
        ):
            page.goto(f"/settings?part={part}")
            expect(page.get_by_text(words).first).to_be_visible()
            found += in_both_themes(page)
        assert found == []
