"""The server's row in the table of servers, by which the API finds it."""

import socket
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.errors import TuneryError
from core.serving import registry
from worker.process.periodic import Periodic

LEAVE_SECONDS = 5.0
HANGING_SECONDS = 1.0  # without a tick: the loop ticks ten times a second

log = structlog.get_logger()


class NotReady(TuneryError):
    """The server cannot answer now. `str()` is the reason."""


class Registration(Periodic):
    """Writes the row every `registry.BEAT_SECONDS`, and removes it when the server stops.

    It has a thread of its own, so the row would outlive a hanging event loop. So the loop must `tick`.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        server_id: str,
        address: str,
        bases: Callable[[], list[str]],
        state: Callable[[], dict[str, Any]],
    ) -> None:
        """`bases` returns the base models on offer, and `state` the other columns that change.

        A thread calls both. If `state` raises NotReady, or the loop does not tick, the row is not written,
        and lapses unless it is written again soon.
        """
        super().__init__("registration", registry.BEAT_SECONDS, self.write)
        self._sessions, self._state, self._bases = sessions, state, bases
        self._reason: str | None = None
        self._ticked_at = time.monotonic()
        self._known: dict[str, Any] = {
            "id": server_id,
            "address": address,
            "host": socket.gethostname(),
            "release": version("tunery"),
        }

    def begin(self) -> None:
        """Write the row, and go on writing it. If the database is away, a later report succeeds."""
        try:
            self.write()
        except SQLAlchemyError as error:
            log.warning("server_not_registered", error=str(error))
        self.start()

    def tick(self) -> None:
        """Note that the event loop goes on."""
        self._ticked_at = time.monotonic()

    def write(self) -> None:
        try:
            self._require_ticks()
            state = {**self._state(), "bases": self._bases()}
        except NotReady as error:
            if self._reason != str(error):
                self._reason = str(error)
                log.warning("server_not_ready", reason=self._reason)
            return
        if self._reason is not None:
            self._reason = None
            log.info("server_ready")
        with self._sessions.begin() as session:
            registry.report(session, self._known, state)

    def leave(self) -> None:
        """Stop, and remove the row at once, so that the API sends nothing more."""
        self.stop()
        self.join(LEAVE_SECONDS)
        try:
            with self._sessions.begin() as session:
                registry.leave(session, self._known["id"])
        except SQLAlchemyError as error:
            log.warning("server_not_deregistered", error=str(error))

    def _require_ticks(self) -> None:
        """Raise NotReady if the loop hangs."""
        if time.monotonic() - self._ticked_at > HANGING_SECONDS:
            raise NotReady("The event loop hangs.")
