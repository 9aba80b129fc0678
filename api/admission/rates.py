"""Limits the requests of a project per minute."""

from collections.abc import Mapping
from functools import partial

from limits import RateLimitItemPerMinute
from limits.strategies import SlidingWindowCounterRateLimiter
from limits.util import WindowStats
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.access.rates import Counters, refusal_until


class RequestRates:
    """Counts each project's requests in a sliding window of a minute."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._limiter = SlidingWindowCounterRateLimiter(counters.storage)

    def count(self, project_id: str, most: int) -> Mapping[str, str]:
        """Count a request of a project that may send `most` a minute.

        Return what is left of them, as OpenAI's headers; nothing if the broker is away. Raises RateLimited.
        """
        counted = self._counters.ask(partial(self._hit, RateLimitItemPerMinute(most), project_id))
        if counted is None:
            return {}
        allowed, window = counted
        headers = {
            "x-ratelimit-limit-requests": str(most),
            "x-ratelimit-remaining-requests": str(window.remaining),
        }
        if not allowed:
            refusal = refusal_until(f"This project may send {most} requests a minute.", window.reset_time)
            refusal.headers = {**refusal.headers, **headers}
            raise refusal
        return headers

    def _hit(self, item: RateLimitItemPerMinute, project_id: str) -> tuple[bool, WindowStats]:
        """Count a request. Return whether it is allowed, and what is left of the window."""
        return self._limiter.hit(item, project_id), self._limiter.get_window_stats(item, project_id)


class CountedRequests:
    """ASGI middleware that refuses a request if its project has no requests left in this minute.

    The answer's headers say what is left; a chat adds what is left of the tokens to them.

    It runs while the request holds its permit: it takes a thread, which a flood of one project must not take
    from others.
    """

    def __init__(self, app: ASGIApp, rates: RequestRates) -> None:
        self._app = app
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope.get("state", {}).get("caller")
        if caller is not None and caller.quotas.limits_rates:
            headers: dict[str, str] = {}
            scope["state"]["rate_headers"] = headers
            send = _sending(headers, send)
            most = caller.quotas.requests_per_minute
            if most is not None:
                headers |= await run_in_threadpool(self._rates.count, caller.project_id, most)
        await self._app(scope, receive, send)


def _sending(headers: Mapping[str, str], send: Send) -> Send:
    """Return a `send` that adds the headers to the response."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return with_headers
