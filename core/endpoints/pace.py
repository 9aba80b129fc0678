"""Bounds how many requests a second go to one address."""

import asyncio
import time

MOST_KNOWN = 1000  # addresses that are remembered; then those that nobody waits for are forgotten
MOST_REST = 60.0  # seconds


class Pace:
    """The turns of requests to one address. Only the event loop may call."""

    def __init__(self) -> None:
        self.free_at = 0.0

    async def turn(self, most_per_second: int | None) -> None:
        """Wait until the next request may be sent, at most `most_per_second`."""
        now = time.monotonic()
        at = max(now, self.free_at)
        if most_per_second is not None:
            self.free_at = at + 1 / most_per_second
        if at > now:
            await asyncio.sleep(at - now)

    def rest(self, seconds: float) -> None:
        """Let requests that have no turn yet wait for so many seconds, at most MOST_REST."""
        self.free_at = max(self.free_at, time.monotonic() + min(seconds, MOST_REST))


class Paces:
    """The paces of addresses, which each owner has for itself."""

    def __init__(self) -> None:
        self._paces: dict[tuple[str, str], Pace] = {}

    def of(self, owner: str, url: str) -> Pace:
        """Return the pace of an address."""
        if len(self._paces) >= MOST_KNOWN:
            now = time.monotonic()
            self._paces = {key: pace for key, pace in self._paces.items() if pace.free_at > now}
        return self._paces.setdefault((owner, url), Pace())
