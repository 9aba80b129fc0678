"""A job of thousands of steps: drawn from some of them, and read whole where somebody asks for that."""

import csv
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import delete

from core.tables import Metric
from tests.fixtures.service.pages import TOUCH, downloaded, settled
from tests.fixtures.service.site import PHONE, Site

STEPS, ODD = 8000, 4321


def past_of(site: Site, job_id: str) -> None:
    """As many steps as that, one of which stands out."""
    losses = {step: 99.0 if step == ODD else 1 + (step * 7919 % 1000) / 1000 for step in range(1, STEPS + 1)}
    with site.api.sessions.begin() as session:
        session.execute(delete(Metric).where(Metric.job_id == job_id))
        session.add_all(
            Metric(job_id=job_id, step=step, data={"train_loss": loss, "grad_norm": 1 / loss})
            for step, loss in losses.items()
        )


@pytest.mark.exhaustive
def test_a_long_job_is_thinned_until_somebody_zooms_in_or_saves_it(
    site: Site, page: Page, tmp_path: Path
) -> None:
    job_id = site.create_long_job()
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    past_of(site, job_id)
    with page.expect_response(lambda answer: "points=" in answer.url) as first:
        page.goto(f"/jobs/{job_id}")
    drawn = [point["step"] for point in first.value.json()["data"]]
    assert ODD in drawn
    assert len(drawn) <= 1500
    expect(page.get_by_text(f"Thinned: {len(drawn):,} of {STEPS:,} steps")).to_be_visible()

    settled(page)
    chart = page.get_by_role("img", name="Loss by step").bounding_box()
    assert chart
    middle = chart["y"] + chart["height"] / 2
    with page.expect_response(lambda answer: "until_step=" in answer.url) as part:
        page.mouse.move(chart["x"] + chart["width"] * 0.5, middle)
        page.mouse.down()
        page.mouse.move(chart["x"] + chart["width"] * 0.6, middle, steps=5)
        page.mouse.up()
    zoomed = [point["step"] for point in part.value.json()["data"]]
    assert zoomed == list(range(zoomed[0], zoomed[-1] + 1))
    assert STEPS / 3 < zoomed[0] < zoomed[-1] < STEPS * 2 / 3
    page.get_by_role("button", name="Whole run").click()

    saved = downloaded(page, tmp_path)
    assert [int(row["step"]) for row in saved] == list(range(1, STEPS + 1))
    assert float(saved[ODD - 1]["train_loss"]) == 99.0
    expect(page.get_by_text("Thinned")).to_be_hidden()


@pytest.mark.exhaustive
def test_a_long_job_is_compared_by_its_outliers_too(site: Site, page: Page, tmp_path: Path) -> None:
    jobs = [site.create_long_job(suffix=f"long-{number}") for number in range(2)]
    for job_id in jobs:
        site.tenant.http.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
        past_of(site, job_id)
    page.goto(f"/compare?jobs={','.join(jobs)}")
    expect(page.get_by_text(f"of {2 * STEPS:,} steps")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV of Loss", exact=True).click()
    download.value.save_as(tmp_path / "loss.csv")
    with (tmp_path / "loss.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == STEPS
    assert [float(rows[ODD - 1][job_id]) for job_id in jobs] == [99.0, 99.0]
    expect(page.get_by_text("Thinned")).to_be_hidden()


def test_charts_are_zoomed_together_by_the_keyboard_and_by_touch_and_their_tables_follow(
    site: Site, page: Page
) -> None:
    job_id = site.create_long_job()
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    past_of(site, job_id)
    page.goto(f"/jobs/{job_id}")
    part = page.get_by_role("group", name="Part of the run")
    told = part.get_by_role("status")
    for title in ("Loss", "Gradient norm"):
        page.get_by_role("button", name=f"Table of {title}").click()
        expect(first_row(page, title)).to_have_text(f"{STEPS:,}")
    part.get_by_role("button", name="Zoom in").focus()
    with page.expect_response(lambda answer: "until_step=" in answer.url):
        page.keyboard.press("Enter")
    expect(told).to_have_text("From step 2,001 to step 6,000")
    for title in ("Loss", "Gradient norm"):
        expect(first_row(page, title)).to_have_text("6,000")
    page.get_by_role("button", name="Later part").press("Enter")
    expect(told).to_have_text("From step 4,001 to step 8,000")
    expect(first_row(page, "Loss")).to_have_text("8,000")

    page.get_by_role("button", name="Earlier values of Loss").click()
    expect(first_row(page, "Loss")).not_to_have_text("8,000")
    expect(page.get_by_text("thinned, the CSV has all").first).to_be_visible()

    page.set_viewport_size(PHONE)
    box = part.get_by_role("button", name="Zoom out").bounding_box()
    assert box
    assert min(box["width"], box["height"]) >= TOUCH
    part.get_by_role("button", name="Zoom out").click()
    expect(told).to_contain_text("The whole run")
    expect(first_row(page, "Loss")).to_have_text(f"{STEPS:,}")


def first_row(page: Page, title: str) -> Locator:
    """Its step."""
    return page.get_by_role("region", name=f"{title}, values").locator("tbody tr").first.locator("td").first
