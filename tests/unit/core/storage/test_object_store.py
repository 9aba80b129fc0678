"""The requests of the object store's client, as a server receives them."""

import re
from pathlib import Path

import pytest

from core.process.loopback import is_loopback
from core.storage.object_store import STORE_ERRORS, TRANSFER, ObjectStore
from tests.fixtures.outside.endpoint import Endpoint
from worker.tasks.export.push import s3


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


def test_an_installed_awscrt_takes_no_transfer_away_from_the_clients_own_connections() -> None:
    assert TRANSFER.preferred_transfer_client == "classic"
    assert s3.TRANSFER is TRANSFER  # that of pushes


@pytest.mark.parametrize("write", ["a file", "bytes"])
def test_a_refused_write_raises_one_of_the_stores_errors(
    endpoint: Endpoint, tmp_path: Path, write: str
) -> None:
    endpoint.put_status = 507
    store = ObjectStore(endpoint.url, "models")
    (tmp_path / "file").write_bytes(b"content")
    writes = {
        "a file": lambda: store.put_file("key", tmp_path / "file"),
        "bytes": lambda: store.put_bytes("key", b"content"),
    }
    with pytest.raises(STORE_ERRORS):
        writes[write]()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8333", True),
        ("http://[::1]:8333", True),
        ("http://localhost", True),
        ("http://tunery.localhost:8000/v1", True),
        ("http://127.1.example.com", False),
        ("http://s3:8333", False),
        ("https://s3.eu-central-1.amazonaws.com", False),
        ("http://10.0.0.1", False),
    ],
)
def test_knows_the_addresses_of_this_machine(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
