"""The dashboard's files: who gets what, under which headers, and what stands in for them."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api import dashboard
from tests.fixtures.service.api import Api, refusal


@pytest.fixture(scope="module")
def built(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with a small build."""
    folder = tmp_path_factory.mktemp("dist")
    (folder / "index.html").write_text("<!doctype html><title>Tunery</title>")
    (folder / "docs").mkdir()
    (folder / "docs" / "index.html").write_text("<!doctype html><title>API</title>")
    (folder / "docs" / "start.js").write_text("start()")
    (folder / "assets").mkdir()
    (folder / "assets" / "index-abc.js").write_text("export {}")
    (folder / "assets" / "index-abc.js.gz").write_bytes(gzip.compress(b"export {}"))
    (folder / "mark.svg").write_text("<svg/>")
    (folder.parent / "secret.txt").write_text("secret")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dashboard.Dashboard.__init__, "__defaults__", (folder,))
        with api.beside() as server, httpx.Client(base_url=server.url) as client:
            yield client


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/ftjob-1?x=curve", "/sign-in", "/unheard-of/of"])
def test_every_page_is_the_same_one(built: httpx.Client, path: str) -> None:
    answer = built.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert "<title>Tunery</title>" in answer.text
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("path", "headers", "mend"),
    [
        ("/", {"authorization": "Bearer tnr_wrong"}, "ends in /v1"),
        ("/models", {"accept": "application/json"}, "ends in /v1"),
        ("/openai/deployments/x/chat/completions", {"api-key": "x"}, "client OpenAI"),
        ("/openai/v1/models", {"authorization": "Bearer x"}, "client OpenAI"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_client_outside_of_the_api_learns_its_base_url(
    built: httpx.Client, method: str, path: str, headers: dict[str, str], mend: str
) -> None:
    error = refusal(built.request(method, path, headers=headers), 404, None, "unknown_url")
    assert mend in error["message"]
    assert f"({method} {path})" in error["message"]


def test_a_browser_that_would_also_take_json_gets_the_page(built: httpx.Client) -> None:
    answer = built.get("/jobs", headers={"accept": "text/html,application/json;q=0.9"})
    assert "<title>Tunery</title>" in answer.text


def test_the_page_of_the_api_is_its_own(built: httpx.Client) -> None:
    for path in ("/docs", "/docs/"):
        answer = built.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
        assert "<title>API</title>" in answer.text
    assert built.get("/docs/start.js").text == "start()"


def test_files_are_served_and_kept(built: httpx.Client) -> None:
    answer = built.get("/assets/index-abc.js")
    assert (answer.status_code, answer.text) == (200, "export {}")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/javascript")


def test_a_browser_keeps_the_mark_for_a_while_as_each_page_shows_it_twice(built: httpx.Client) -> None:
    answer = built.get("/mark.svg")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=86400")


@pytest.mark.parametrize(
    ("accepted", "sent"), [("gzip, br", "gzip"), ("br", None), ("gzip;q=0", None), ("identity", None)]
)
def test_a_compressed_copy_goes_to_whoever_takes_it(
    built: httpx.Client, accepted: str, sent: str | None
) -> None:
    answer = built.get("/assets/index-abc.js", headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == sent
    assert (answer.text, answer.headers["vary"]) == ("export {}", "accept-encoding")
    assert answer.headers["content-type"].startswith("text/javascript")


def test_a_missing_file_is_no_page(built: httpx.Client) -> None:
    """A script that an older page asks for would else be taken for HTML."""
    assert "reload" in refusal(built.get("/assets/index-old.js"), 404)["message"]


@pytest.mark.parametrize("path", ["/", "/assets/index-abc.js", "/jobs", "/docs", "/docs/start.js"])
def test_the_policy_allows_this_site_alone(built: httpx.Client, path: str) -> None:
    headers = built.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt"])
def test_nothing_beside_it_is_served(built: httpx.Client, path: str) -> None:
    answer = built.send(
        httpx.Request("GET", httpx.URL(f"{built.base_url}").copy_with(raw_path=path.encode()))
    )
    assert "secret" not in answer.text


def test_where_it_is_not_built_it_says_so(api: Api, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dashboard.Dashboard.__init__, "__defaults__", (tmp_path / "none",))
        with api.beside() as server:
            error = refusal(httpx.get(server.url), 404, None, "dashboard_not_built")
    assert "make setup" in error["message"]
