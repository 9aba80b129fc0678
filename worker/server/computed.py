"""The tokens that were computed for requests which have ended, until the API asks for them.

It asks if its own client has left before the answer was whole. Otherwise the answer has told them.
"""

import asyncio
from collections import OrderedDict
from typing import Any

MOST_KEPT = 1000  # requests
WAIT_SECONDS = 1.0  # for a request that is just being ended


class UsageOfEnded:
    """The usage of the latest requests by their ids. Only the event loop may call."""

    def __init__(self) -> None:
        self._usages: OrderedDict[str, asyncio.Future[Any]] = OrderedDict()

    def note(self, request_id: str, usage: Any) -> None:
        """Keep the usage of a request that has ended; None if nothing was computed."""
        found = self._of(request_id)
        if not found.done():
            found.set_result(usage)

    async def usage(self, request_id: str) -> Any:
        """Return the usage of a request once it has ended. None is returned if it is not known."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._of(request_id)), WAIT_SECONDS)
        except TimeoutError:
            return None

    def _of(self, request_id: str) -> "asyncio.Future[Any]":
        found = self._usages.setdefault(request_id, asyncio.get_running_loop().create_future())
        while len(self._usages) > MOST_KEPT:
            self._usages.popitem(last=False)
        return found
