"""Finds free ports and reserves them until the servers have bound them."""

import secrets
import socket
from collections.abc import Callable

from core.errors import ConfigurationError

FIRST, LAST = 12_000, 22_000
"""The range of ports. With `offset` added they are still below 32768, where Linux begins to give ports to
outgoing connections. So a client that waits for a server cannot take the server's port."""


def claim_ports(count: int, *, offset: int, is_blocked: Callable[[int], bool]) -> tuple[socket.socket, int]:
    """Reserve `count` free ports in a row. Return a socket that holds the reservation, and the first port.

    The ports `offset` higher are free as well. A port for which `is_blocked` is true does not count as free.
    No other caller on this machine, in any process, gets these ports as long as the socket is open.
    """
    firsts = list(range(FIRST, LAST - count, count))
    secrets.SystemRandom().shuffle(firsts)
    for first in firsts:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(
                f"\0tunery-ports-{first}"
            )  # an abstract name: it leaves no file and ends with its owner
        except OSError:
            claim.close()
            continue
        ports = range(first, first + count)
        if all(_is_free(port) and _is_free(port + offset) and not is_blocked(port) for port in ports):
            return claim, first
        claim.close()
    raise ConfigurationError(f"No {count} ports in a row are free between {FIRST} and {LAST}.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
