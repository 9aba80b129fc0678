"""Finds free ports for the servers, and reserves them until the servers have bound them."""

import secrets
import socket
from collections.abc import Callable

from core.errors import ConfigurationError

FIRST, LAST = 12_000, 22_000
"""The ports to search. Even with `offset` added, they are below 32768. From there on, Linux gives ports to
outgoing connections, so a client that waits for a server could take the server's port."""


def claim_ports(count: int, *, offset: int, is_blocked: Callable[[int], bool]) -> tuple[socket.socket, int]:
    """Return the first of `count` free ports in a row, and a socket that reserves them.

    The ports that are `offset` higher are free too. A port for which `is_blocked` is true does not count as
    free. As long as the socket is open, no other call on this machine returns these ports, not even in
    another process. Raises ConfigurationError if there are no such ports.
    """
    firsts = list(range(FIRST, LAST - count, count))
    secrets.SystemRandom().shuffle(firsts)
    for first in firsts:
        claim = socket.socket(socket.AF_UNIX)
        try:
            # An abstract name leaves no file, and is free again when its owner ends.
            claim.bind(f"\0tunery-ports-{first}")
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
