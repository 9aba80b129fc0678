"""Bears a server that is away for a moment, such as during its restart."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cli.client import output
from cli.client.errors import Refused, Unreachable

T = TypeVar("T")

POLL_SECONDS = 1.0
# Seconds without an answer until a wait fails: a restart of the API must not end a wait of hours.
OUTAGE_SECONDS = 60.0


@dataclass
class Patience:
    """Asks a server again while it is away.

    `answered` is the time of its last answer, by the monotonic clock. None means that it has never answered:
    its first error is raised at once then.
    """

    answered: float | None = None
    _complained: bool = False

    def ask(self, request: Callable[[], T]) -> T:
        """Return the answer of `request`. While the server is away, ask again for OUTAGE_SECONDS."""
        while True:
            try:
                answer = request()
            except (Refused, Unreachable) as error:
                if isinstance(error, Refused) and not error.is_passing:
                    raise
                if self.answered is None or time.monotonic() - self.answered > OUTAGE_SECONDS:
                    raise
                if not self._complained:
                    output.note(f"{error} Trying again for {OUTAGE_SECONDS:.0f} seconds.", "yellow")
                    self._complained = True
                time.sleep(POLL_SECONDS)
            else:
                self.answered, self._complained = time.monotonic(), False
                return answer
