"""Reads what the provider publishes for everybody: the description of itself, and its public keys.

Anybody can make an API process need them, also while the provider is away. So all who need one share one
reading, a failure answers all who wait for it, and for a few seconds also those who come next.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet

from api.sign_on.problems import problem
from api.sign_on.requests import Requests, unavailable
from core.errors import AppError
from core.settings.sign_on import is_loopback

FRESH_SECONDS = 3600.0  # after which it is read again
STALE_SECONDS = 86_400.0  # so long it counts if it cannot be read again
REST_SECONDS = 10.0  # between two readings of the keys, whatever the provider signs with
FAILED_SECONDS = 5.0  # in which nobody reads again what could not be read

ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
MORE_ENDPOINTS = ("userinfo_endpoint", "end_session_endpoint")

Content = TypeVar("Content")


class Published(Generic[Content]):
    """One thing that the provider publishes. Only the event loop may call."""

    def __init__(self, read: Callable[[], Awaitable[Content]]) -> None:
        self._read = read
        self._content: Content | None = None
        self._read_at = self._failed_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self.rest_seconds, self.failed_seconds = REST_SECONDS, FAILED_SECONDS

    async def get(self, *, again: bool = False) -> Content:
        """Return the content. Read it `again` unless it has just been read. Raises Unavailable."""
        now = time.monotonic()
        most = self.rest_seconds if again else FRESH_SECONDS
        if now - self._read_at > most and now - self._failed_at > self.failed_seconds:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read_it())
            await asyncio.shield(self._reading)  # others wait for it too
        if self._content is None or time.monotonic() - self._read_at > STALE_SECONDS:
            raise problem("sign_on_unavailable")
        return self._content

    async def _read_it(self) -> None:
        try:
            self._content = await self._read()
        except AppError:  # the log says why
            self._failed_at = time.monotonic()
        else:
            self._read_at, self._failed_at = time.monotonic(), float("-inf")


async def read_description(requests: Requests, issuer: str) -> dict[str, Any]:
    """Return what the provider says of itself, from the document of OpenID Connect Discovery."""
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    description = (await requests.ask("GET", url)).of_success()
    if description.get("issuer") != issuer:
        raise unavailable(f"{url} names another issuer", named=description.get("issuer"))
    if missing := [name for name in ENDPOINTS if not isinstance(description.get(name), str)]:
        raise unavailable(f"{url} lacks {', '.join(missing)}")
    for name in (*ENDPOINTS, *MORE_ENDPOINTS):
        if name in description and not _is_safe(description[name], issuer):
            raise unavailable(f"{url} names a {name} without https", named=str(description[name])[:200])
    return description


def _is_safe(endpoint: object, issuer: str) -> bool:
    """Return whether nobody in the network can read what is sent there. This machine needs no TLS."""
    if not isinstance(endpoint, str):
        return False
    try:
        parts = urlsplit(endpoint)
        on_this_machine = is_loopback(issuer) and is_loopback(endpoint)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and on_this_machine))


async def read_keys(requests: Requests, url: str) -> KeySet:
    """Return the provider's public keys, without those that are of no use here. Raises Unavailable."""
    published = (await requests.ask("GET", url)).of_success().get("keys")
    found = [_key_of(each) for each in published] if isinstance(published, list) else []
    if keys := [key for key in found if key is not None]:
        return KeySet(keys)
    raise unavailable(f"{url} has no key of a known kind")


def _key_of(published: Any) -> Key | None:
    try:
        key = JWKRegistry.import_key(published)
        key.ensure_kid()
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):  # an odd key raises any of them
        return None
    return key
