"""The rows of a job on its page. The test does what the trainer and a task would do."""

import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from core.tables import RowLoss
from tests.fixtures.service.site import Site
from tests.fixtures.work.file_tasks import take, work_on


def test_rows_lead_to_their_lines_and_to_a_copy_without_the_chosen_ones(page: Page, site: Site) -> None:
    job_id = site.create_job(validated=True, training={"row_losses": 100})
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{job_id}/pause")
    with site.api.sessions.begin() as session:
        for part in ("training", "validation"):
            for line in range(1, 6):
                losses = {"before": 2.5, "after": line / 10, "suspicion": line / 100}
                session.add(RowLoss(job_id=job_id, part=part, line=line, tokens=7, **losses))
    page.goto(f"/jobs/{job_id}")
    section = page.get_by_role("region", name="Rows", exact=True)
    table = section.get_by_role("table")
    expect(table.get_by_role("row")).to_have_count(6)
    expect(table.get_by_role("row").nth(1)).to_contain_text("0.5000")
    violations = Axe().run(page).response["violations"]
    assert [each["id"] for each in violations] == []

    section.get_by_role("checkbox", name="Leave line 5 out").check()
    section.get_by_role("checkbox", name="Leave line 2 out").check()
    section.get_by_role("button", name="Make a copy without 2 rows").click()
    expect(section.get_by_role("status")).to_contain_text("being made")
    training_file = site.tenant.job(job_id)["training_file"]
    (check,) = site.tenant.http.get(f"/v1/files/{training_file}/checks").json()["data"]
    assert check["request"]["leave_out"] == [5, 2]
    work_on(site.api, take(site.api, check["id"]))
    copy = site.tenant.http.get(f"/v1/files/{training_file}/checks/{check['id']}").json()["mended_file"]
    made = section.get_by_role("link", name="The copy is made")
    expect(made).to_have_attribute("href", f"/files/{copy}")
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{job_id}/resume")
    site.finish(job_id)
    expect(page).to_have_title(re.compile("succeeded"))
    made.click()
    expect(page).to_have_url(f"{site.api.url}/files/{copy}")

    page.go_back()
    section.get_by_label("Part of the data").select_option("validation")
    expect(section.get_by_role("button", name="Make a copy")).to_have_count(0)
    section.get_by_label("Order of the rows").select_option("hardest")
    section.get_by_role("link", name="5", exact=True).click()
    expect(page).to_have_url(f"{site.api.url}/files/{site.tenant.job(job_id)['validation_file']}?line=5")
