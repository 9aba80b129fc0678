"""Sends requests to addresses that clients name: to no private network, without redirects, in limited time.

The host is resolved once, and each of its addresses is checked. The connection then goes to a checked
address. So a name that resolves differently a moment later (DNS rebinding) reaches no other address.
"""

import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore
import structlog

from core.errors import TuneryError

Address = IPv4Address | IPv6Address

MAX_URL = 2048
MAX_ANSWER = 1024**2  # bytes
REFUSAL_SECONDS = 0.5  # the least time until a name is refused: most look-ups take less
NAT64 = IPv6Network("64:ff9b::/96")
# Networks that a router may translate to IPv4; some releases of Python treat their addresses as global
LOCALLY_TRANSLATED = tuple(map(IPv6Network, ("64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")))


log = structlog.get_logger()


class EgressRefused(TuneryError):
    """The request is not allowed; the message says why."""


class NotAnswered(TuneryError):
    """No complete answer came: the host is unknown, unreachable or too slow, or it speaks no HTTP."""


class AnswerTooLarge(NotAnswered):
    """The answer has more bytes than are read. Asking again does not help."""


class UnknownHost(NotAnswered):
    """The host has no address that requests may go to. Asking again does not help."""


class Egress:
    """The rule for where requests may go: public addresses by https, and hosts that the operator allows."""

    def __init__(self, allowed: str | None) -> None:
        """Read `allowed`: hosts and networks, separated by commas, as in `TUNERY_EGRESS_ALLOW`."""
        self._networks, self._hosts = [], set()
        for entry in filter(None, (part.strip() for part in (allowed or "").split(","))):
            try:
                self._networks.append(ip_network(entry, strict=False))
            except ValueError:
                self._hosts.add(entry.lower())

    def check_url(self, url: str) -> SplitResult:
        """Check a URL as far as possible before its host is resolved. Raises EgressRefused."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
            url.encode("ascii")
        except ValueError:
            raise EgressRefused(
                "it is not a valid URL (write a host with other characters than ASCII in Punycode)"
            ) from None
        if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL or not url.isprintable():
            raise EgressRefused(f"it must be an https URL of at most {MAX_URL} characters")
        if parts.username is not None or parts.password is not None or parts.fragment or " " in url:
            raise EgressRefused("it must not contain a user name, password, fragment or space")
        address = _literal(host)
        if address is not None and not self._may_reach(host, address):
            raise EgressRefused(
                f"{host} is not a public address; the operator can allow it in TUNERY_EGRESS_ALLOW"
            )
        if parts.scheme == "http" and not self._allows(host, address):
            raise EgressRefused(
                "it must use https; the operator can allow plain http to a host in TUNERY_EGRESS_ALLOW"
            )
        return parts

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the host's addresses. Raises NotAnswered if it has none, or one that is not allowed.

        A refused address raises the same error as a missing one, and after the same time. Otherwise clients
        would learn which names there are in our own network. The log has the reason.
        """
        began = time.monotonic()
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            unknown = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
            raised, reason = UnknownHost if unknown else NotAnswered, str(error)
        else:
            addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
            refused = [each for each in addresses if not self._may_reach(host, _without_zone(each))]
            if not refused:
                return addresses
            raised, reason = UnknownHost, f"{', '.join(refused)} is not a public address"
        log.info("host_refused", host=host, reason=reason)
        time.sleep(max(began + REFUSAL_SECONDS - time.monotonic(), 0.0))
        raise raised(
            f"the host {host} has no public address; the operator can allow another one in "
            "TUNERY_EGRESS_ALLOW"
        )

    def _may_reach(self, host: str, address: Address) -> bool:
        return _is_public(address) or self._allows(host, address)

    def _allows(self, host: str, address: Address | None) -> bool:
        return host in self._hosts or (
            address is not None and any(address in network for network in self._networks)
        )


@dataclass(frozen=True)
class Answer:
    """The answer to a request."""

    status: int
    headers: dict[str, str]
    body: bytes


def post(egress: Egress, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> int:
    """Send a POST request and return the status of the answer, whose body is not read.

    Raises EgressRefused and NotAnswered.
    """
    with _answered(egress, "POST", url, headers, body, seconds) as answer:
        return answer.status


def send(
    egress: Egress,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | Iterator[bytes] | None,
    seconds: float,
    most: int = MAX_ANSWER,
) -> Answer:
    """Send a request and return the answer, whose body has at most `most` bytes and is not decompressed.

    Raises EgressRefused and NotAnswered.
    """
    with _answered(egress, method, url, headers, body, seconds) as answer:
        found = bytearray()
        for chunk in answer.iter_stream():
            found += chunk
            if len(found) > most:
                raise AnswerTooLarge(f"the answer has more than {most} bytes")
        fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
        return Answer(answer.status, fields, bytes(found))


@contextmanager
def _answered(
    egress: Egress,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | Iterator[bytes] | None,
    seconds: float,
) -> Iterator[httpcore.Response]:
    """Send a request, and yield the answer before its body is read. A redirect is not followed.

    Both may take `seconds`, but the time to resolve the host is not counted.
    """
    is_encrypted = egress.check_url(url).scheme == "https"
    guarded = _Guarded(egress, time.monotonic() + seconds)
    tls = ssl.create_default_context() if is_encrypted else None  # it reads a file of all authorities
    try:
        with (
            httpcore.ConnectionPool(network_backend=guarded, ssl_context=tls) as pool,
            pool.stream(method, url, headers=list(headers.items()), content=body) as answer,
        ):
            yield answer
    except httpcore.TimeoutException as error:
        raise NotAnswered(f"no answer within {seconds:g} s") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
        raise NotAnswered(str(error) or type(error).__name__) from error


class _Guarded(httpcore.NetworkBackend):
    """Connects only to checked addresses, and stops at `deadline`, a `time.monotonic()`."""

    def __init__(self, egress: Egress, deadline: float) -> None:
        self._egress = egress
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 (`deadline` decides instead)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in self._egress.resolve(host, port):
            try:
                left = _left(self._deadline, httpcore.ConnectTimeout)
                stream = self._plain.connect_tcp(address, port, left, local_address, socket_options)
                return _Timed(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or NotAnswered(f"the host {host} has no address")


class _Timed(httpcore.NetworkStream):
    """A stream whose waits all end at the deadline, so that a host that sends slowly cannot block us."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, late: type[httpcore.TimeoutException]) -> float:
    """Return the seconds until the deadline. Raises `late` if it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise late
    return left


def _literal(host: str) -> Address | None:
    """Return the IP address if the host is written as one, or None if the host is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _without_zone(address: str) -> Address:
    return ip_address(address.partition("%")[0])


def _is_public(address: Address) -> bool:
    """Return whether an address can be reached from the whole internet.

    An IPv4 address inside an IPv6 address is checked too.
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
        if any(address in network for network in LOCALLY_TRANSLATED):
            return False
        if address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast
