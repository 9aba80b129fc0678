"""What the object store's client sends, seen from the other end."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core.storage import ObjectStore, is_loopback


@dataclass
class Endpoint:
    """An S3 without buckets, which takes down what it is asked."""

    url: str
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            seen.requests.append((self.command, self.path, body))
            seen.signatures.append(self.headers["authorization"])
            self.send_response(404 if self.command == "HEAD" else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        do_HEAD = do_PUT = do_GET = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        seen = Endpoint(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield seen
        server.shutdown()


@pytest.mark.parametrize(
    ("region", "constraint"), [("us-east-1", None), ("eu-central-1", "eu-central-1"), (None, None)]
)
def test_a_missing_bucket_is_made_in_the_clients_region(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, region: str | None, constraint: str | None
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    if region:
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    ObjectStore(endpoint.url, "models").ensure_bucket()
    (head, _, _), (put, path, body) = endpoint.requests
    assert (head, put, path) == ("HEAD", "PUT", "/models")
    found = re.search("<LocationConstraint>(.*)</LocationConstraint>", body)
    assert (found and found[1]) == constraint
    assert all(signature.startswith("AWS4-HMAC-SHA256 ") for signature in endpoint.signatures)
    assert all(f"/{region or 'us-east-1'}/s3/" in signature for signature in endpoint.signatures)


def test_an_endpoint_on_this_machine_is_not_asked_through_a_proxy(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    ObjectStore(endpoint.url, "models").ensure_bucket()
    assert len(endpoint.requests) == 2


def test_another_machine_is_asked_through_the_operators_proxy(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, endpoint.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    ObjectStore("http://s3.example.com", "models").ensure_bucket()
    assert [path for _, path, _ in endpoint.requests] == ["http://s3.example.com/models"] * 2


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8333", True),
        ("http://[::1]:8333", True),
        ("http://localhost", True),
        ("http://s3:8333", False),
        ("https://s3.eu-central-1.amazonaws.com", False),
        ("http://10.0.0.1", False),
    ],
)
def test_knows_the_addresses_of_this_machine(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
