"""Limits the requests and the tokens of a project per minute. The broker counts for all API processes."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter
from limits.util import WindowStats
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import RateLimited

# Seconds. If the broker is away, one request waits for `TIMEOUT`, and no request is counted for `PAUSE`.
TIMEOUT = 0.5
PAUSE = 5.0

Answer = TypeVar("Answer")

log = structlog.get_logger()


class Counters:
    """The counters of the broker. Without a broker, nothing is counted, and all requests pass."""

    def __init__(self, broker_url: str) -> None:
        self.storage = RedisStorage(
            broker_url, key_prefix="tunery-rates", socket_connect_timeout=TIMEOUT, socket_timeout=TIMEOUT
        )
        self._away_until = 0.0

    def ask(self, question: Callable[[], Answer]) -> Answer | None:
        """Return the answer of the broker, or None if it is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            return question()
        except RedisError as error:
            self._away_until = time.monotonic() + PAUSE
            log.warning("rates_not_counted", error=str(error))
            return None


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
            refusal = _beyond(f"This project may send {most} requests a minute.", window.reset_time)
            refusal.headers = {**refusal.headers, **headers}
            raise refusal
        return headers

    def _hit(self, item: RateLimitItemPerMinute, project_id: str) -> tuple[bool, WindowStats]:
        """Count a request. Return whether it is allowed, and what is left of the window."""
        return self._limiter.hit(item, project_id), self._limiter.get_window_stats(item, project_id)


class TokenRates:
    """Counts each project's tokens, from a first one on for a minute.

    The tokens of an answer are known at its end. So an answer is refused once others have used up the quota,
    and those that have begun may exceed it.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._limiter = FixedWindowRateLimiter(counters.storage)

    def check(self, project_id: str, most: int) -> Mapping[str, str]:
        """Return what is left of the project's `most` tokens of this minute, as OpenAI's headers.

        The headers are empty if the broker is away. Raises RateLimited if nothing is left.
        """
        window = self._counters.ask(partial(self._look, RateLimitItemPerMinute(most), project_id))
        if window is None:
            return {}
        headers = {
            "x-ratelimit-limit-tokens": str(most),
            "x-ratelimit-remaining-tokens": str(max(0, window.remaining)),
        }
        if window.remaining <= 0:
            refusal = _beyond(f"This project may use {most} tokens a minute.", window.reset_time)
            refusal.headers = {**refusal.headers, **headers}
            raise refusal
        return headers

    def add(self, project_id: str, most: int, tokens: int) -> None:
        """Count the tokens of an answer."""
        item = RateLimitItemPerMinute(most)
        self._counters.ask(partial(self._limiter.hit, item, "tokens", project_id, cost=tokens))

    def _look(self, item: RateLimitItemPerMinute, project_id: str) -> WindowStats:
        return self._limiter.get_window_stats(item, "tokens", project_id)


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


def _beyond(quota: str, resets_at: float) -> RateLimited:
    return RateLimited(
        f"{quota} Wait as long as the header retry-after says.",
        retry_after=max(1, math.ceil(resets_at - time.time())),
    )
