"""Jobs beside each other, and the candidates of one that searches."""

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.service.pages import downloaded, in_both_themes
from tests.fixtures.service.site import PHONE, Site

COMPARED = 3


def rates(site: Site) -> list[str]:
    """Three jobs that differ in their learning rate, ended."""
    files = {"training_file": site.tenant.upload(), "validation_file": site.tenant.upload()}
    jobs = [
        site.create_job(suffix=f"rate-{number}", training={"learning_rate": 10.0 ** (-number - 1)}, **files)
        for number in range(COMPARED)
    ]
    site.finish(*jobs)
    return jobs


@pytest.mark.exhaustive
def test_jobs_are_compared_by_results_curves_and_settings(site: Site, page: Page, tmp_path: Path) -> None:
    jobs = rates(site)
    page.goto(f"/compare?jobs={','.join(jobs)}")
    results = page.get_by_role("region", name="Results").get_by_role("table")
    expect(results.get_by_role("row")).to_have_count(COMPARED + 1)
    row = results.get_by_role("row").filter(has_text="rate-2")
    judged = re.compile("better|worse")
    expect(row).to_contain_text(judged)
    page.get_by_role("radio", name="Use rate-2 as the baseline").check()
    expect(row).not_to_contain_text(judged)
    differing = page.get_by_role("region", name="Settings that differ").get_by_role("table")
    expect(differing.get_by_role("rowheader")).to_have_text(["training.learning_rate"])
    expect(differing.get_by_role("cell")).to_have_text(["0.1", "0.01", "0.001"])

    with page.expect_download() as download:
        page.get_by_role("button", name="CSV of Loss, training").click()
    download.value.save_as(tmp_path / "loss.csv")
    with (tmp_path / "loss.csv").open(newline="") as lines:
        found = list(csv.DictReader(lines))
    for job_id in jobs:
        told = site.tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}/metrics").json()["data"]
        assert [float(line[job_id]) for line in found] == [point["train_loss"] for point in told]

    page.get_by_role("checkbox", name="Learning rate").check()
    page.get_by_role("button", name="Remove rate-0").click()
    expect(results.get_by_role("row")).to_have_count(COMPARED)
    page.reload()
    expect(results.get_by_role("row")).to_have_count(COMPARED)
    expect(page.get_by_role("radio", name="Use rate-2 as the baseline")).to_be_checked()
    expect(page.get_by_role("img", name="Learning rate by step")).to_be_visible()
    page.get_by_role("button", name="Add a job").click()
    page.get_by_role("combobox", name="Name, model, file, metadata").fill("rate-0")
    expect(page.get_by_role("listbox").get_by_role("option")).to_have_count(1)
    assert in_both_themes(page) == []
    page.keyboard.press("Enter")
    expect(results.get_by_role("row")).to_have_count(COMPARED + 1)
    assert in_both_themes(page) == []

    best = row.get_by_role("cell").nth(2).inner_text()
    page.goto("/jobs")
    expect(page.get_by_role("row").filter(has_text="rate-2")).to_contain_text(best)
    expect(page.get_by_role("img", name="Training loss")).to_have_count(COMPARED)


@pytest.mark.exhaustive
def test_a_search_shows_what_it_chose_from_and_why(site: Site, page: Page, tmp_path: Path) -> None:
    job_id = site.create_job(
        epochs=8, validated=True, adapter={"r": "auto"}, training={"learning_rate": 1e-2}
    )
    page.goto(f"/jobs/{job_id}")
    ranking = page.get_by_role("region", name="Ranking of the candidates")
    expect(ranking.get_by_role("row")).to_have_count(5)
    site.finish(job_id)
    expect(ranking.get_by_role("row").nth(1)).to_contain_text("won")
    found = site.tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}/candidates").json()["data"]
    for at, candidate in enumerate(found, start=1):
        expect(ranking.get_by_role("row").nth(at)).to_contain_text(f"r {candidate['values']['adapter.r']}")
        expect(ranking.get_by_role("row").nth(at)).to_contain_text(candidate["reason"])
    expect(page.get_by_role("img", name="Loss, training by step")).to_be_visible()
    expect(page.get_by_role("heading", name="candidate", exact=True)).to_have_count(0)

    expect(page.get_by_text("The job has ended")).to_be_visible()
    told = site.tenant.http.get(f"/v1/fine_tuning/jobs/{job_id}/metrics").json()["data"]
    curve = [(int(row["step"]), float(row["train_loss"])) for row in downloaded(page, tmp_path)]
    assert curve == [(point["step"], point["train_loss"]) for point in told], "not the winner's"
    assert in_both_themes(page) == []


@pytest.mark.exhaustive
def test_nothing_is_wider_than_a_phone(site: Site, page: Page) -> None:
    jobs = rates(site)
    page.set_viewport_size(PHONE)
    for path in ("/jobs", f"/jobs/{jobs[0]}", f"/compare?jobs={','.join(jobs)}"):
        page.goto(path)
        expect(page.get_by_text("rate-0").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], path
