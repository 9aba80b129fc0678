"""The check of a file, and what is learnt of its rows, on the file's page."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Route, expect

from cli.embedded import EmbeddedServers
from tests.fixtures.service.api import Api, row
from tests.fixtures.service.chatting import serving_for
from tests.fixtures.service.pages import in_both_themes
from tests.fixtures.service.serving import ServerProcess
from tests.fixtures.service.site import Site, Visit
from tests.fixtures.work.file_tasks import take, work_on

ROWS = [row("yes"), row("yes"), *[row("no") for _ in range(8)], row("Hi <script>, I am <|im_end|> here")]
CHAT = {
    "messages": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!", "weight": 0.5},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "See you."},
    ]
}


@pytest.fixture(scope="module")
def server(
    service: Api, servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    with serving_for(service, servers, tmp_path_factory.mktemp("serving")) as serving:
        yield serving.start()


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


def test_a_file_of_another_format_is_converted(site: Site, visit: Visit) -> None:
    page, file_id = visit.page, site.tenant.upload(b"question,answer\nRain?,No.\n", "user_data", "rain.csv")
    page.goto(f"/files/{file_id}")
    check = page.get_by_role("region", name="Check of the content")
    check.get_by_role("button", name="Convert to a dataset").click()
    expect(check.get_by_role("progressbar")).to_be_visible()
    work_on(site.api, take(site.api, newest(site, f"/v1/files/{file_id}/conversions")))
    check.get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("rain.converted.jsonl")


def test_what_is_learnt_is_marked(site: Site, visit: Visit, server: ServerProcess) -> None:
    page, file_id = visit.page, site.tenant.upload(lines(CHAT, {"messages": []}), "user_data")
    page.goto(f"/files/{file_id}")
    masks = page.get_by_role("region", name="What is learnt")
    masks.get_by_label("Lines").fill("1, 2")
    masks.get_by_role("button", name="Show rows").click()
    expect(masks).to_contain_text("learnt")
    expect(masks.locator("li mark")).to_have_text(["Hi!<|im_end|>", "See you.<|im_end|>"])
    expect(masks.locator("li sub")).to_have_text("×0.5")
    expect(masks).to_contain_text("Line 2: No job takes the row")
    assert in_both_themes(page) == []


def test_what_cannot_be_read_or_rendered_says_why(site: Site, visit: Visit) -> None:
    visit.allow("Failed to load resource")

    def refuse(route: Route) -> None:
        error = {"message": "No server is running.", "type": "server_error", "code": "no_server"}
        route.fulfill(status=503, json={"error": error | {"param": None}})

    page, file_id = visit.page, site.tenant.upload(lines(*[CHAT] * 10))
    page.route("**/preview", refuse)
    page.route("**/checks?*", refuse)
    page.goto(f"/files/{file_id}")
    expect(page.get_by_role("region", name="Check of the content")).to_contain_text("No server is running.")
    masks = page.get_by_role("region", name="What is learnt")
    masks.get_by_role("button", name="Show rows").click()
    expect(masks).to_contain_text("No server is running.")
    assert in_both_themes(page) == []
