"""Names, rows, metadata and log lines are words, whatever they say."""

import json

from playwright.sync_api import Page, expect

from core.ids import new_id
from core.tables import Event
from tests.fixtures.service.pages import SCRIPT, expect_nothing_struck
from tests.fixtures.service.site import Site, administered

ROW = {"messages": [{"role": "user", "content": SCRIPT}, {"role": "assistant", "content": SCRIPT}]}


def expect_words_at(page: Page, path: str) -> None:
    """The page shows the script as it is written, and has not run it."""
    page.goto(path)
    expect(page.get_by_role("main")).to_contain_text("onerror")
    expect_nothing_struck(page)


def test_script_in_words_is_shown_and_does_nothing(site: Site, page: Page) -> None:
    content = (json.dumps(ROW) + "\n").encode() * 12
    file = site.tenant.upload(content, name=f"{SCRIPT}.jsonl")
    job_id = site.create_job(training_file=file, metadata={"note": SCRIPT})
    site.finish(job_id)
    with site.api.sessions.begin() as session:
        session.add(Event(id=new_id("ftevent-"), job_id=job_id, level="warn", type="message", message=SCRIPT))
    expect_words_at(page, f"/jobs?q={job_id}")
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_role("log")).to_contain_text("onerror")
    expect(page.get_by_role("region", name="Settings")).to_contain_text("onerror")
    expect_nothing_struck(page)

    expect_words_at(page, "/files")
    page.goto(f"/files/{file}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("onerror")
    expect(page.get_by_role("region", name="First rows")).to_contain_text("onerror")
    expect_nothing_struck(page)
    expect_words_at(page, f"/adapters/{site.tenant.job(job_id)['adapter_id']}")
    page.goto(f"/new?from={job_id}")
    expect(page.get_by_role("region", name="Review")).to_contain_text("onerror")
    page.get_by_role("button", name="Python").click()
    expect_nothing_struck(page)


def test_names_in_the_settings_are_words_too(site: Site) -> None:
    admin = administered(site)
    http = admin.tenant.http
    project = http.get("/v1/session").json()["project"]["id"]
    made = http.post(f"/v1/organization/projects/{project}/api_keys", json={"name": SCRIPT})
    assert made.status_code == 200, made.text
    endpoint = {
        "name": SCRIPT,
        "url": "https://127.0.0.1:9/hook",
        "event_types": ["fine_tuning.job.succeeded"],
    }
    made = http.post("/v1/webhook_endpoints", json=endpoint)
    assert made.status_code == 200, made.text
    with admin.visit() as visit:
        for part in ("keys", "webhooks", "audit"):
            expect_words_at(visit.page, f"/settings?part={part}")
