"""Counts requests and tokens of a project per minute. The broker counts for all processes."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter
from limits.util import WindowStats
from redis.exceptions import RedisError

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


class TokenRates:
    """Counts each project's tokens, from a first one on for a minute.

    The tokens of an answer are known at its end. So an answer is refused once others have used up the quota,
    and those that have begun may exceed it. Calls wait for the broker, so make them in a thread.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._limiter = FixedWindowRateLimiter(counters.storage)

    def check(self, project_id: str, most: int, kept_back: int = 0) -> Mapping[str, str]:
        """Return what is left of the project's `most` tokens of this minute, as OpenAI's headers.

        The headers are empty if the broker is away. Raises RateLimited if no more than `kept_back` are left.
        """
        window = self._counters.ask(partial(self._look, RateLimitItemPerMinute(most), project_id))
        if window is None:
            return {}
        headers = {
            "x-ratelimit-limit-tokens": str(most),
            "x-ratelimit-remaining-tokens": str(max(0, window.remaining)),
        }
        if window.remaining <= kept_back:
            refusal = refusal_until(f"This project may use {most} tokens a minute.", window.reset_time)
            refusal.headers = {**refusal.headers, **headers}
            raise refusal
        return headers

    def add(self, project_id: str, most: int, tokens: int) -> None:
        """Count the tokens of an answer."""
        item = RateLimitItemPerMinute(most)
        self._counters.ask(partial(self._limiter.hit, item, "tokens", project_id, cost=tokens))

    def _look(self, item: RateLimitItemPerMinute, project_id: str) -> WindowStats:
        return self._limiter.get_window_stats(item, "tokens", project_id)


def refusal_until(quota: str, resets_at: float) -> RateLimited:
    """Return the error of a `quota` that is used up until `resets_at`, in seconds of the Unix epoch."""
    return RateLimited(
        f"{quota} Wait as long as the header retry-after says.",
        retry_after=max(1, math.ceil(resets_at - time.time())),
    )
