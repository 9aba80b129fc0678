"""Names, rows, metadata and log lines are words, whatever they say."""

import json

from playwright.sync_api import Page, expect

from core.ids import new_id
from core.models import Event
from tests.fixtures.site import Site

SCRIPT = "<img src=x onerror=\"globalThis.struck='yes'\"><script>globalThis.struck='yes'"  # no slash: a name
ROW = {"messages": [{"role": "user", "content": SCRIPT}, {"role": "assistant", "content": SCRIPT}]}


def test_script_in_words_is_shown_and_does_nothing(site: Site, page: Page) -> None:
    file = site.tenant.upload((json.dumps(ROW) + "\n").encode() * 12, name=f"{SCRIPT}.jsonl")
    job_id = site.create_job(training_file=file, metadata={"note": SCRIPT})
    site.finish(job_id)
    with site.api.sessions.begin() as session:
        session.add(Event(id=new_id("ftevent-"), job_id=job_id, level="warn", type="message", message=SCRIPT))
    page.goto(f"/jobs?q={job_id}")
    expect(page.get_by_text("onerror").first).to_be_attached()
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_role("log")).to_contain_text("onerror")
    expect(page.get_by_role("region", name="Settings")).to_contain_text("onerror")
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("globalThis.struck") is None
