"""Requests to the provider, each bounded in time and size. Whatever fails is one error for the person."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx
import structlog

from api.sign_on.problems import problem
from core.errors import AppError

TIMEOUT = 5.0  # seconds, for each of the few requests of a sign-on
MOST_BYTES = 1024**2  # of an answer

log = structlog.get_logger()


@dataclass(frozen=True)
class Answer:
    """An answer of the provider. `said` is the object in the body, or an empty one if there is none."""

    request: str
    status: int
    said: dict[str, Any]

    def of_success(self) -> dict[str, Any]:
        """Return the object. Raises Unavailable if there is none."""
        if not 200 <= self.status < 300 or not self.said:
            raise unavailable(f"{self.request} answered {self.status}")
        return self.said


class Requests:
    """The connections to the provider."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        """`timeout` is in seconds, for a whole request."""
        self._timeout = timeout
        self._http = httpx.AsyncClient(timeout=timeout, headers={"accept": "application/json"})

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, method: str, url: str, **options: Any) -> Answer:
        """Return the answer. Raises Unavailable if none comes in time, or if it is too large."""
        try:
            async with asyncio.timeout(self._timeout), self._http.stream(method, url, **options) as answer:
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise unavailable(f"{method} {url} answered more than {MOST_BYTES} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise unavailable(f"{method} {url} failed: {type(error).__name__}") from None
        return Answer(f"{method} {url}", answer.status_code, _object_in(bytes(body)))


def _object_in(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def unavailable(why: str, **more: Any) -> AppError:
    """Write to the log why the provider is of no use. Return the error for the person."""
    log.warning("sign_on_provider_failed", why=why, **more)
    return problem("sign_on_unavailable")
