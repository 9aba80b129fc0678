"""The list of jobs: what stands in it, and what it says while it has not read all."""

import json
import re
from datetime import UTC, datetime

from playwright.sync_api import Page, Route, expect
from sqlalchemy import inspect

from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.lifecycle import Lease, Progress
from core.tables import Job
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.pages import NO_ANSWER, HeldBack, queued
from tests.fixtures.service.site import PHONE, Site, Visit

WIDE = {"width": 1500, "height": 900}
ROW_HEIGHT = 44

# Whether what has the focus is a row that nothing hides.
IN_SIGHT = """
() => {
  const row = document.activeElement.closest("tr").getBoundingClientRect();
  const head = document.querySelector("thead").getBoundingClientRect();
  const list = document.querySelector("[role=region][aria-label=Jobs]").getBoundingClientRect();
  return row.top >= head.bottom - 1 && row.bottom <= list.bottom + 1;
}
"""
HEIGHTS = "rows => rows.map(row => row.getBoundingClientRect().height)"


def ended_jobs(site: Site, count: int) -> None:
    """As many as that, `old-1` the newest, and one that is paused before them."""
    model_id = queued(site, "oldest")
    ids = sorted((new_id("ftjob-") for _ in range(count)), reverse=True)
    with site.api.sessions.begin() as session:
        model = session.get_one(Job, model_id)
        told = {each.key: getattr(model, each.key) for each in inspect(Job).column_attrs}
        told |= {"status": "cancelled", "finished_at": datetime.now(UTC)}
        for number, job_id in enumerate(ids, 1):
            session.add(Job(**{**told, "id": job_id, "suffix": f"old-{number}"}))


def held(site: Site, suffix: str, progress: Progress) -> Lease:
    """A running job, which stands where the test says."""
    job_id = queued(site, suffix)
    with site.api.sessions.begin() as session:
        lifecycle.resume(session, session.get_one(Job, job_id))
        lease = lifecycle.claim(session, "a test", 600.0)
        assert lease is not None
        assert lease.job_id == job_id
        lifecycle.renew(session, lease, progress)
    return lease


def names(page: Page) -> list[str]:
    return page.locator("tbody tr:not([aria-hidden]) a").all_inner_texts()


def test_the_row_that_the_keys_reach_is_in_sight_downwards_and_upwards(site: Site, page: Page) -> None:
    ended_jobs(site, 60)
    page.goto("/jobs")
    expect(page.get_by_role("link", name="old-1", exact=True)).to_be_visible()
    for key, way in (("j", range(1, 51)), ("k", range(49, 0, -1))):
        for number in way:
            page.keyboard.press(key)
            expect(page.get_by_role("link", name=f"old-{number}", exact=True)).to_be_focused()
            wait_for(lambda: page.evaluate(IN_SIGHT))


def test_rows_are_as_high_as_the_list_counts_on(site: Site, page: Page) -> None:
    ended_jobs(site, 3)
    held(site, "runs", Progress("training", 5, 20, 0.5, tokens_per_second=99.5, seconds_left=100))
    page.goto("/jobs")
    for size in (WIDE, PHONE):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        expect(page.get_by_role("link", name="runs")).to_be_visible()
        rows = page.locator("tbody tr:not([aria-hidden])")
        assert set(rows.evaluate_all(HEIGHTS)) == {ROW_HEIGHT}


def test_all_that_are_found_are_ticked_those_too_that_were_not_read(site: Site, page: Page) -> None:
    ended_jobs(site, 230)
    page.goto("/jobs")
    expect(page.get_by_text("125+ jobs")).to_be_visible()
    tick = page.get_by_label("Select all jobs found")
    tick.click()
    bar = page.get_by_role("group", name="Selected jobs")
    expect(bar).to_contain_text("231 selected")
    expect(tick).to_be_checked()
    tick.click()
    expect(bar).to_have_count(0)


def test_a_status_is_asked_of_the_service_and_nothing_is_missed_before_the_answer(
    site: Site, page: Page
) -> None:
    queued(site, "waits")
    ended_jobs(site, 130)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/jobs?" in request.url else None)
    page.goto("/jobs")
    expect(page.get_by_role("link", name="old-1", exact=True)).to_be_visible()
    held_back = HeldBack(page, re.compile("status=failed"))
    page.get_by_label("Status").select_option("failed")
    expect(page.get_by_role("region", name="Jobs")).to_contain_text("Reading…")
    expect(page.get_by_text("No job matches.")).to_have_count(0)
    held_back.release()
    expect(page.get_by_text("No job matches.")).to_be_visible()
    expect(page.get_by_text("0 jobs found")).to_be_visible()
    page.get_by_label("Status").select_option("paused")
    expect(page.get_by_text("2 jobs found")).to_be_visible()
    assert sorted(names(page)) == ["oldest", "waits"]
    assert not any("limit=1000" in url for url in asked), "all jobs were read"


def test_what_cannot_be_read_is_said_and_asked_for_once(site: Site, visit: Visit) -> None:
    ended_jobs(site, 40)
    page, asked = visit.page, list[str]()
    visit.allow(NO_ANSWER)

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        body = {"error": {"message": "Not like this.", "type": "invalid_request_error", "code": None}}
        route.fulfill(status=400, content_type="application/json", body=json.dumps(body))

    page.route(re.compile("limit=100&"), refuse)
    page.goto("/jobs")
    expect(page.get_by_role("alert")).to_contain_text("Not like this.")
    page.wait_for_timeout(1500)
    assert len(asked) == 1
    page.unroute(re.compile("limit=100&"))
    page.get_by_label("Status").select_option("cancelled")
    expect(page.get_by_text("40 jobs found")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_the_best_loss_and_the_rate_stand_in_the_list_which_is_sorted_by_the_loss(
    site: Site, page: Page
) -> None:
    standing = {"step": 9, "total_steps": 20, "tokens_per_second": 1234.5}
    held(site, "worse", Progress("training", **standing, best_valid_loss=0.75, best_step=7))
    held(site, "better", Progress("training", **standing, best_valid_loss=0.25, best_step=8))
    held(site, "without", Progress("training", **standing))
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    page.goto("/jobs")
    row = page.get_by_role("row").filter(has_text="worse")
    expect(row).to_contain_text("1,235")
    expect(row.get_by_title("at step 7")).to_have_text("0.7500")
    assert names(page) == ["without", "better", "worse"]
    head = page.get_by_role("button", name="Best val. loss")
    head.click()
    expect(page.get_by_role("columnheader", name="Best val. loss")).to_have_attribute(
        "aria-sort", "ascending"
    )
    wait_for(lambda: names(page) == ["better", "worse", "without"])
    head.click()
    wait_for(lambda: names(page) == ["worse", "better", "without"])
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    expect(page.get_by_role("columnheader", name="Tokens/s")).to_have_count(0)
    expect(head).to_be_visible()


def test_a_checkpoint_is_shown_once_it_is_there_however_late(site: Site, page: Page) -> None:
    lease = held(site, "epochs", Progress("training", 10, 30, 1.0))
    page.goto(f"/jobs/{lease.job_id}")
    expect(page.get_by_text("Following")).to_be_visible()
    expect(page.get_by_text("The first checkpoint is saved at the end of an epoch.")).to_be_visible()
    site.api.checkpoint(lease, 10, full_valid_loss=0.5)
    kept = page.get_by_role("region", name="Checkpoints").first
    expect(kept).to_contain_text("0.5000")
    expect(kept).to_contain_text("The checkpoints of the last three epochs and the best checkpoint are kept.")
    expect(page.get_by_role("log")).to_contain_text("Checkpoint saved at step 10")
