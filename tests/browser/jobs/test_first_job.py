"""From an empty project to a job that runs, by one click."""

from playwright.sync_api import Page, expect

from cli.commands.files.sample import TRAINING_NAME, sample_files
from cli.demo.command import SAMPLE_OPTIONS
from core.roles import Role
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.site import END_SECONDS, Site, Visit


def test_a_click_in_an_empty_project_runs_the_job_of_the_demo(site: Site, page: Page) -> None:
    page.goto("/jobs")
    page.get_by_role("button", name="Run the sample job").dblclick()
    expect(page.get_by_role("heading", level=1)).to_have_text("sample")
    (job,) = site.tenant.http.get("/v1/fine_tuning/jobs").json()["data"]
    asked = SAMPLE_OPTIONS["method"]["supervised"]["hyperparameters"]
    assert job["hyperparameters"].items() >= asked.items()
    assert job["training"]["learning_rate"] == SAMPLE_OPTIONS["extra_body"]["training"]["learning_rate"]
    content = site.tenant.http.get(f"/v1/files/{job['training_file']}/content").content
    assert content == sample_files()[TRAINING_NAME]
    assert job["validation_file"]
    wait_for(lambda: site.tenant.job(job["id"])["progress"]["step"] > 0, END_SECONDS)


def test_a_refusal_is_told_and_another_try_sends_no_file_twice(site: Site, visit: Visit) -> None:
    visit.allow("Failed to load resource: the server responded with a status of 429")
    page = visit.page
    refusal = {"error": {"message": "Too many jobs.", "code": "quota_exceeded", "param": None}}
    path = "**/v1/fine_tuning/jobs"
    page.route(path, lambda route: route.fulfill(status=429, json=refusal))
    page.goto("/jobs")
    with page.expect_response(path):
        page.get_by_role("button", name="Run the sample job").click()
    expect(page.get_by_text("Too many jobs.")).to_be_visible()
    page.unroute(path)
    page.get_by_role("button", name="Run the sample job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("sample")
    assert len(site.tenant.http.get("/v1/files?purpose=fine-tune").json()["data"]) == 2


def test_who_may_only_read_is_told_why_it_is_not_offered(site: Site) -> None:
    site.tenant = site.api.tenant(site.tenant.project, Role.READ_ONLY)
    with site.visit() as visit:
        visit.page.goto("/jobs")
        expect(visit.page.get_by_text("This key may only read")).to_be_visible()
        expect(visit.page.get_by_role("button", name="Run the sample job")).to_have_count(0)
