"""Files by the page of their own: in, looked at, out."""

import re

from playwright.sync_api import expect

from tests.fixtures.service.api import dataset
from tests.fixtures.service.pages import HeldBack, file_of
from tests.fixtures.service.site import Site, Visit


def test_files_are_uploaded_looked_at_and_deleted(site: Site, visit: Visit) -> None:
    visit.allow("Failed to load resource: the server responded with a status of 400")
    page = visit.page
    page.goto("/files")
    expect(page.get_by_text("No file yet")).to_be_visible()
    page.get_by_label("Files to upload").set_input_files(
        [file_of(dataset(30), "good.jsonl"), file_of(b"no row\n" * 12, "bad.jsonl")]
    )
    uploads = page.get_by_role("region", name="Upload").get_by_role("listitem")
    expect(uploads.filter(has_text="good.jsonl")).to_contain_text("uploaded")
    expect(uploads.filter(has_text="bad.jsonl")).to_contain_text("failed")
    expect(uploads.filter(has_text="bad.jsonl")).to_contain_text("Line 1")
    table = page.get_by_role("table")
    expect(table.get_by_role("row")).to_have_count(2)
    expect(table).to_contain_text("30 chat rows")

    table.get_by_role("link", name="good.jsonl", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("good.jsonl")
    rows = page.get_by_role("region", name="First rows").get_by_role("listitem")
    expect(rows.first).to_contain_text("hi")
    expect(rows.first).to_contain_text("answer 0")
    file_id = page.url.rsplit("/", 1)[1]
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes() == dataset(30)

    job_id = site.create_job(training_file=file_id, suffix="reads-it", epochs=50)
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{job_id}/pause")
    page.reload()
    expect(page.get_by_role("region", name="Jobs that use it")).to_contain_text("reads-it")
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="This file is in use")
    expect(dialog).to_contain_text("reads-it")
    expect(dialog.get_by_role("button", name="Delete file")).to_have_count(0)
    dialog.get_by_role("button", name="Close").click()
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    page.reload()
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete this file?")
    expect(dialog).to_contain_text("1 job used it")
    dialog.get_by_role("button", name="Delete file").click()
    expect(page).to_have_url(re.compile("/files$"))
    expect(page.get_by_text("No file yet")).to_be_visible()
    assert site.tenant.http.get(f"/v1/files/{file_id}").status_code == 404


def test_uploads_end_with_the_session_and_none_goes_into_the_next_project(site: Site, visit: Visit) -> None:
    visit.allow("Failed to load resource")
    page = visit.page
    held = HeldBack(page, "**/v1/files", "POST")
    page.goto("/files")
    page.get_by_label("Files to upload").set_input_files(
        [file_of(dataset(12), "under-way.jsonl"), file_of(dataset(12), "waits.jsonl")]
    )
    uploads = page.get_by_role("region", name="Upload").get_by_role("listitem")
    expect(uploads.filter(has_text="waits.jsonl")).to_contain_text("waiting")
    held.first()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    other = site.api.tenant()
    page.get_by_label("API key").fill(other.key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("No file yet")).to_be_visible()
    expect(uploads).to_have_count(0)
    page.get_by_label("Files to upload").set_input_files([file_of(dataset(12), "next.jsonl")])
    expect(uploads).to_contain_text("next.jsonl")
    (upload,) = held.first()
    upload.continue_()
    expect(uploads).to_contain_text("uploaded")
    assert [file["filename"] for file in other.http.get("/v1/files").json()["data"]] == ["next.jsonl"]
    assert held.count == 0
