"""Requests to addresses of others: what is refused, and that nothing holds us or leads us elsewhere."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from core.egress import REFUSAL_SECONDS, Egress, EgressRefused, NotAnswered, post
from tests.fixtures.outside.receiver import Receiver

PUBLIC = "8.8.8.8"


def resolves_to(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Every look-up of a name gets the next answer. Returns the names that were looked up."""
    asked: list[str] = []

    def answer(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[len(asked) - 1], port))]

    monkeypatch.setattr("core.egress.socket.getaddrinfo", answer)
    return asked


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://[::1]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b:1::808:808]/",
        "https://[::ffff:0:808:808]/",
        "https://[::808:808]/",
        "https://[2002:7f00:1::]/",
        "https://user:password@example.com/",
        "https://example.com/#part",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https://example.com:port/",
        "https://exämple.com/",
        "https://example.com/a b",
        "https://example.com/\r\nx-header: 1",
    ],
)
def test_a_url_that_is_private_or_no_https_is_refused(url: str) -> None:
    with pytest.raises(EgressRefused):
        Egress(None).check_url(url)


@pytest.mark.parametrize(
    "url", ["https://example.com/hook?a=1", "https://8.8.8.8:8443/", "https://[2600::1]/"]
)
def test_a_public_https_url_is_taken(url: str) -> None:
    Egress(None).check_url(url)


def test_the_operator_allows_hosts_and_networks() -> None:
    egress = Egress("hooks.internal, 10.0.0.0/8")
    for url in ("http://hooks.internal/", "http://10.1.2.3:8080/", "https://10.1.2.3/"):
        egress.check_url(url)
    for url in ("http://other.internal/", "http://11.0.0.1/", "https://192.168.0.1/"):
        with pytest.raises(EgressRefused):
            egress.check_url(url)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254"])
def test_a_public_name_with_a_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    asked = resolves_to(monkeypatch, address)
    with pytest.raises(NotAnswered, match="no public address"):
        post(Egress(None), "https://innocent.example/", {}, b"", 5)
    assert asked == ["innocent.example"]


def test_a_name_of_our_own_network_is_refused_like_one_that_does_not_exist() -> None:
    """`localhost` stands for a name that only our own name servers know."""
    said: set[str] = set()
    for host in ("localhost", "nowhere.invalid"):
        began = time.monotonic()
        with pytest.raises(NotAnswered) as refused:
            post(Egress(None), f"https://{host}/", {}, b"", 5)
        assert time.monotonic() - began >= REFUSAL_SECONDS
        said.add(str(refused.value).replace(host, "HOST"))
    assert len(said) == 1


def test_the_connection_goes_to_the_address_that_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is judged, and private when it would be resolved once more."""
    asked = resolves_to(monkeypatch, PUBLIC, "127.0.0.1")
    connected: list[str] = []

    def refuse(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr("socket.create_connection", refuse)
    with pytest.raises(NotAnswered):
        post(Egress(None), "https://rebinding.example/", {}, b"", 5)
    assert (asked, connected) == (["rebinding.example"], [PUBLIC])


def test_a_redirect_is_an_answer_and_not_followed(receiver: Receiver) -> None:
    receiver.statuses = [307]
    assert post(Egress("127.0.0.1"), f"{receiver.url}/hook", {}, b"{}", 5) == 307
    assert [request.path for request in receiver.requests] == ["/hook"]


@pytest.fixture
def dripping() -> Iterator[str]:
    """Answers with a header that never ends, a byte at a time."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nx-long: ")
                while True:
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_an_answer_that_drips_is_cut_off_in_time(dripping: str) -> None:
    began = time.monotonic()
    with pytest.raises(NotAnswered, match="no answer within"):
        post(Egress("127.0.0.1"), dripping, {}, b"", 1)
    assert time.monotonic() - began < 60
