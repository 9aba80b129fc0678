"""Limits the requests of a project per minute. The broker counts them for all API processes together."""

import math
import time

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import RateLimited

# Seconds. If the broker is away, one request waits for `TIMEOUT`, and no request is counted for `PAUSE`.
TIMEOUT = 0.5
PAUSE = 5.0

log = structlog.get_logger()


class RequestRates:
    """Counts each project's requests in a sliding window of a minute. Without a broker, all requests pass."""

    def __init__(self, broker_url: str) -> None:
        storage = RedisStorage(
            broker_url, key_prefix="tunery-rates", socket_connect_timeout=TIMEOUT, socket_timeout=TIMEOUT
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._away_until = 0.0

    def count(self, project_id: str, most: int) -> None:
        """Count a request of a project that may send `most` a minute. Raises RateLimited."""
        if time.monotonic() < self._away_until:
            return
        item = RateLimitItemPerMinute(most)
        try:
            if self._limiter.hit(item, project_id):
                return
            resets_at = self._limiter.get_window_stats(item, project_id).reset_time
        except RedisError as error:
            self._away_until = time.monotonic() + PAUSE
            log.warning("requests_not_counted", error=str(error))
            return
        raise RateLimited(
            f"This project may send {most} requests a minute. Wait as long as the header retry-after says.",
            retry_after=max(1, math.ceil(resets_at - time.time())),
        )


class CountedRequests:
    """ASGI middleware that refuses a request if its project has no requests left in this minute.

    It runs within the request's turn: it takes a thread, which a flood of one project must not take from
    others.
    """

    def __init__(self, app: ASGIApp, rates: RequestRates) -> None:
        self._app = app
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope.get("state", {}).get("caller")
        most = caller.quotas.requests_per_minute if caller is not None else None
        if most is not None:
            await run_in_threadpool(self._rates.count, caller.project_id, most)
        await self._app(scope, receive, send)
