"""The check of a file, and what is learnt of its rows, on the file's page."""

import json

from playwright.sync_api import expect

from tests.fixtures.service.api import row
from tests.fixtures.service.pages import in_both_themes
from tests.fixtures.service.site import Site, Visit
from tests.fixtures.work.file_tasks import work_on
from tests.fixtures.work.taking import take

ROWS = [row("yes"), row("yes"), *[row("no") for _ in range(8)], row("Hi <script>, I am <|im_end|> here")]


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in rows)


def newest(site: Site, path: str) -> str:
    return str(site.tenant.http.get(path).json()["data"][0]["id"])


def test_a_file_is_checked_mended_and_pictured(site: Site, visit: Visit) -> None:
    page, file_id = visit.page, site.tenant.upload(lines(*ROWS))
    page.goto(f"/files/{file_id}")
    check = page.get_by_role("region", name="Check of the content")
    expect(check).to_contain_text("Not checked yet")
    check.get_by_role("button", name="Check and make a mended copy").click()
    expect(check.get_by_role("progressbar")).to_be_visible()
    expect(check.get_by_role("button", name="Check", exact=True)).to_be_disabled()
    work_on(site.api, take(site.api, newest(site, f"/v1/files/{file_id}/checks")))
    expect(check).to_contain_text("warning exact duplicate 8 ×")
    expect(check).to_contain_text("Line 2: the row teaches what an earlier row does (line 1)")
    expect(check).to_contain_text("To mend it, remove the row.")
    expect(check).to_contain_text("the text has <|im_end|>")
    expect(check.get_by_role("img", name="Lengths of the rows")).to_be_visible()
    expect(check).to_contain_text("the same as an earlier row")
    assert in_both_themes(page) == []
    check.get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("train.mended.jsonl")
