"""An adapter's exports on its page. No worker runs here: the test does what a task's process would do."""

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.fixtures.service.site import Site
from tests.fixtures.work.exporting import finish_export


def test_an_adapter_is_exported_downloaded_and_the_export_deleted(
    page: Page, site: Site, adapter_folder: Path
) -> None:
    job_id = site.create_job()
    site.finish(job_id)
    adapter = site.tenant.job(job_id)["adapter_id"]
    page.goto(f"/adapters/{adapter}")
    section = page.get_by_role("region", name="Exports")
    expect(section).to_contain_text("No export.")
    section.get_by_label("Rank").fill("4")
    section.get_by_role("button", name="Export", exact=True).click()
    expect(section.get_by_role("listitem")).to_contain_text("rank 4")
    expect(section.get_by_role("listitem")).to_contain_text("queued")

    (export,) = site.tenant.http.get(f"/v1/adapters/{adapter}/exports").json()["data"]
    finish_export(site.api, adapter_folder, export["id"])
    expect(section.get_by_role("listitem")).to_contain_text("Exact, at rank 4.")
    family = page.get_by_role("region", name="Before and after")
    expect(family.get_by_role("link", name="Plain LoRA (PEFT, vLLM, SGLang), rank 4")).to_be_visible()
    with page.expect_download() as download:
        section.get_by_role("link", name="Download the export").click()
    assert download.value.suggested_filename.endswith(".zip")

    section.get_by_label("Format").select_option("gguf")
    section.get_by_label("Weights").select_option("q4_0")
    section.get_by_role("button", name="Export", exact=True).click()
    line = section.get_by_role("listitem").filter(has_text="q4_0")
    line.get_by_role("button", name="Cancel").click()
    expect(line).to_contain_text("cancelled")
    line.get_by_role("button", name="Delete").click()
    expect(line).to_have_count(0)
