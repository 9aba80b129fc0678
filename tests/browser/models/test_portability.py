"""Where an adapter loads, on its page. No worker runs here: the test does what a task's process would do."""

from playwright.sync_api import Page, expect

from tests.fixtures.service.site import Site
from tests.fixtures.work.portability import finish_measurement


def test_rules_are_shown_at_once_and_figures_after_a_measurement(page: Page, site: Site) -> None:
    job_id = site.create_job()
    site.finish(job_id)
    adapter = site.tenant.job(job_id)["adapter_id"]
    page.goto(f"/adapters/{adapter}")
    section = page.get_by_role("region", name="Where does it load?")
    sglang = section.get_by_role("row").filter(has_text="SGLang loads")
    expect(section).to_contain_text("Nothing has been measured yet.")
    expect(sglang).to_contain_text("should load, by its documentation")
    section.get_by_text("Start it in SGLang").click()
    expect(section.get_by_role("region", name="Start in SGLang")).to_contain_text("sglang.launch_server")

    section.get_by_role("button", name="Measure", exact=True).click()
    expect(section).to_contain_text("queued")
    report = site.tenant.http.get(f"/v1/adapters/{adapter}/portability").json()
    with page.expect_response(f"**/v1/adapters/{adapter}"):  # the files: the card has another hash
        finish_measurement(site.api, report["measurement"]["id"])
    expect(section).to_contain_text("20 of 20 equal")
    expect(section).to_contain_text("on 20 prompts")

    section.get_by_role("button", name="Measure again").click()
    section.get_by_role("button", name="Cancel").click()
    expect(section.get_by_role("button", name="Measure again")).to_be_visible()
