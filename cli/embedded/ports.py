"""Finds free ports, and keeps them from other programs while the servers are not bound to them."""

import secrets
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from core.errors import ConfigurationError

FIRST, LAST = 12_000, 22_000


class PortClaim:
    """A row of ports, and those `offset` higher if there is one, which nobody else gets until it is closed.

    A socket is bound to each port and does not listen. So the kernel gives the port to no outgoing connection
    and to no program that asks for any port, also while a server is down between two starts. The server
    itself can bind to the port, because both sockets have SO_REUSEADDR. Clients are refused until it listens.
    """

    def __init__(
        self, count: int, *, offset: int = 0, is_blocked: Callable[[int], bool] = lambda _: False
    ) -> None:
        """Claim `count` ports in a row. A port for which `is_blocked` is true does not count as free.

        Raises ConfigurationError if there are none.
        """
        self._sockets = ExitStack()
        firsts = list(range(FIRST, LAST - count, count))
        secrets.SystemRandom().shuffle(firsts)
        for self.first in firsts:
            ports = range(self.first, self.first + count)
            if not any(map(is_blocked, ports)) and self._take({*ports, *(port + offset for port in ports)}):
                return
            self.close()
        raise ConfigurationError(f"No {count} ports in a row are free between {FIRST} and {LAST}.")

    def close(self) -> None:
        self._sockets.close()

    def _take(self, ports: Iterable[int]) -> bool:
        """Bind a socket to each port. Return False if another program, or another claim, has one of them."""
        try:
            # An abstract name tells claims from each other. It leaves no file and ends with its owner.
            self._sockets.enter_context(socket.socket(socket.AF_UNIX)).bind(f"\0tunery-ports-{self.first}")
            for port in ports:
                kept = self._sockets.enter_context(socket.socket())
                kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                kept.bind(("", port))
        except OSError:
            return False
        return True
