"""The list of jobs: what stands in it, and what it says while it has not read all."""

from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import inspect

from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.lifecycle import Lease, Progress
from core.tables import Job
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.pages import queued
from tests.fixtures.service.site import PHONE, Site

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


@pytest.mark.exhaustive
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
