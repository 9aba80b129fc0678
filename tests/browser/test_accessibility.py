"""axe finds nothing serious on any page, in light and in dark."""

import re

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import func, update

from core.roles import Role
from core.tables import Job
from tests.fixtures.service.pages import in_both_themes, queued
from tests.fixtures.service.rewards import METHOD, prompts
from tests.fixtures.service.site import DESK, PHONE, Site, administered

SEEN = 3.0  # contrast that the edge of a field has at least (WCAG 1.4.11)


def test_the_sign_in(site: Site) -> None:
    with site.visit(signed_in=False) as visit:
        visit.allow("Failed to load resource: the server responded with a status of 401")
        visit.page.goto("/jobs")
        expect(visit.page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(visit.page).to_have_title("Sign in · Tunery")
        assert in_both_themes(visit.page) == []


def test_pages_of_a_project_without_a_job(page: Page) -> None:
    page.goto("/jobs")
    expect(page.get_by_role("heading", name="No job yet")).to_be_visible()
    found = in_both_themes(page)
    page.goto("/nowhere")
    expect(page.get_by_role("heading", name="No such page")).to_be_visible()
    expect(page).to_have_title("No such page · Tunery")
    assert found + in_both_themes(page) == []


@pytest.mark.exhaustive
def test_jobs_and_what_belongs_to_one(site: Site, page: Page) -> None:
    ended = site.create_job(validated=True, suffix="ended")
    site.create_long_job(suffix="runs")
    site.finish(ended)
    page.goto("/jobs")
    expect(page.get_by_role("link", name="runs")).to_be_visible()
    expect(page).to_have_title("Jobs · Tunery")
    found = in_both_themes(page)
    page.get_by_role("button", name="Keyboard help").click()
    found += in_both_themes(page)
    page.goto(f"/jobs/{ended}")
    expect(page.get_by_role("img", name="Loss by step")).to_be_visible()
    page.get_by_role("heading", name="Files", exact=True).scroll_into_view_if_needed()
    expect(page.get_by_text("sha256").first).to_be_visible()
    found += in_both_themes(page)
    page.get_by_role("button", name="Table of Loss").click()
    assert found + in_both_themes(page) == []


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive
def test_the_form_of_a_new_job_empty_and_with_problems(page: Page) -> None:
    page.goto("/new")
    expect(page.get_by_role("button", name="Create job")).to_be_visible()
    found = in_both_themes(page)
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("Rank r", exact=True).fill("none at all")
    page.get_by_role("button", name="Add a name").click()
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("alert")).to_be_focused()
    assert found + in_both_themes(page) == []


@pytest.mark.exhaustive
def test_a_job_that_learns_from_rewards_and_the_form_of_one(site: Site, page: Page) -> None:
    job_id = site.create_job(
        training_file=site.tenant.upload(prompts(24)),
        validation_file=site.tenant.upload(prompts(10)),
        hyperparameters=None,
        method=METHOD,
    )
    site.finish(job_id)
    found = []
    for size in (DESK, PHONE):
        page.set_viewport_size(size)
        page.goto(f"/jobs/{job_id}")
        expect(page.get_by_role("img", name="Mean reward by step")).to_be_visible()
        found += in_both_themes(page)
        page.goto(f"/new?from={job_id}")
        expect(page.get_by_text("The service can use this grader.")).to_be_visible()
        page.get_by_text("Try it on one row").click()
        page.get_by_label(re.compile("^Grader, as JSON")).fill("{")
        page.get_by_role("button", name="Create job").click()
        expect(page.get_by_role("alert")).to_be_focused()
        found += in_both_themes(page)
        page.get_by_role("button", name="Start over").click()
    assert found == []


def test_workers_with_jobs(site: Site, page: Page) -> None:
    site.create_long_job(suffix="held")
    page.goto("/workers")
    expect(page.get_by_role("link", name="held")).to_be_visible()
    assert in_both_themes(page) == []


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive
def test_a_failed_and_a_paused_job_and_workers_that_are_not_there(site: Site, page: Page) -> None:
    paused, failed = queued(site, "waits"), queued(site, "broke")
    fail(site, failed)
    found = []
    for path, words in (
        ("/jobs", "broke"),
        (f"/jobs/{failed}", "The loss is not a number."),
        (f"/jobs/{paused}", "Resume"),
        (f"/compare?jobs={paused},{failed}", "waits"),
    ):
        page.goto(path)
        expect(page.get_by_text(words).first).to_be_visible()
        found += in_both_themes(page)
    expect(page).to_have_title("Compare · Tunery")
    page.route("**/v1/workers", without_workers)
    page.goto("/workers")
    expect(page.get_by_text("No worker").first).to_be_visible()
    assert found + in_both_themes(page) == []


@pytest.mark.exhaustive
def test_what_a_key_sees_that_may_only_read(site: Site) -> None:
    job_id = queued(site, "waits")
    site.tenant = site.api.tenant(site.tenant.project, Role.READ_ONLY)
    with site.visit() as visit:
        found = []
        for path, words in (
            (f"/jobs/{job_id}", "waits"),
            ("/files", "This key may only read"),
            ("/new", "This key is read-only"),
        ):
            visit.page.goto(path)
            expect(visit.page.get_by_text(words).first).to_be_visible()
            found += in_both_themes(visit.page)
        assert found == []


@pytest.mark.exhaustive
def test_jobs_one_of_them_and_the_palette_on_a_phone(site: Site, page: Page) -> None:
    job_id = site.create_job(suffix="ended", validated=True)
    site.finish(job_id)
    page.set_viewport_size(PHONE)
    found = []
    for path, words in (
        ("/jobs", "ended"),
        (f"/jobs/{job_id}", "At their defaults"),
        (f"/compare?jobs={job_id}", "ended"),
    ):
        page.goto(path)
        if path.startswith("/jobs/"):
            page.get_by_role("heading", name=re.compile("Settings, as")).scroll_into_view_if_needed()
        expect(page.get_by_text(words).first).to_be_visible()
        found += in_both_themes(page)
    page.get_by_role("button", name="Go to").click()
    expect(page.get_by_role("option").first).to_be_visible()
    assert found + in_both_themes(page) == []


def test_the_edges_of_fields_are_seen(site: Site, page: Page) -> None:
    queued(site, "waits")
    page.goto("/jobs")
    field = page.get_by_role("searchbox", name="Search jobs")
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        edge, inside, beside = field.evaluate(
            """(field) => [getComputedStyle(field).borderTopColor, getComputedStyle(field).backgroundColor,
                           getComputedStyle(document.body).backgroundColor]"""
        )
        assert contrast(edge, inside) >= SEEN, theme
        assert contrast(edge, beside) >= SEEN, theme


def fail(site: Site, job_id: str) -> None:
    """A paused job ends with an error."""
    error = {"code": "non_finite_loss", "message": "The loss is not a number.", "param": None}
    with site.api.sessions.begin() as session:
        for change in ({"status": "queued"}, {"status": "failed", "error": error, "finished_at": func.now()}):
            session.execute(update(Job).where(Job.id == job_id).values(**change))


def without_workers(route: Route) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, json=answer.json() | {"data": []})


def contrast(one: str, other: str) -> float:
    """Of two colours as a browser computes them, by WCAG."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
