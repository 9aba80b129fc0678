"""An attempt to sign on, from the first redirect to the last. Only the browser keeps it, in a cookie.

The cookie holds one random secret. What the provider gets to see follows from the secret, and does not tell
it: the state, the nonce, and the challenge of PKCE. So nothing is stored here, any API process can end what
another one has begun, and an answer counts only in the browser that has asked for it.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

from starlette.responses import Response
from starlette.types import Scope

from api.admission.cookies import HostCookie
from core.errors import InvalidRequest
from core.settings.sign_on import is_project_name

# A browser also sends it when the provider leads it back here
COOKIE = HostCookie("tunery_sign_on", "lax")
LIFETIME = 600  # seconds in which a person has to sign on
PAGE = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # printable ASCII without a backslash, and one slash first
MOST_PAGE = 2048
SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
DOT_SEGMENT = re.compile(r"(?i)/(\.|%2e){1,2}(/|$)")  # a browser leaves it out, and what is behind it counts


@dataclass(frozen=True)
class Attempt:
    """One person's way to the provider and back: to the page `next`, and into `project` if it is named."""

    secret: str
    next: str
    project: str | None
    begun_at: int  # Unix seconds

    @classmethod
    def begin(cls, page: str, project: str | None) -> Self:
        """Begin an attempt.

        Raises InvalidRequest if `page` is not one of the dashboard's, or `project` is no name.
        """
        if not is_own_page(page):
            raise InvalidRequest(
                "`next` is not a page of the dashboard. Name its path, such as /jobs.", param="next"
            )
        if project is not None and not is_project_name(project):
            raise InvalidRequest("`project` is not the name of a project.", param="project")
        return cls(secrets.token_urlsafe(32), page, project, int(time.time()))

    @classmethod
    def read(cls, scope: Scope) -> Self | None:
        """Return the attempt of the browser that sends the request, or None if there is none."""
        value = COOKIE.read(scope) or ""
        try:
            kept = json.loads(base64.urlsafe_b64decode(value))
        except (ValueError, RecursionError):
            return None
        match kept:
            case [int() as begun_at, str() as secret, str() as page, str() | None as project]:
                attempt = cls(secret, page, project, begun_at)
                return attempt if attempt._counts() else None
        return None

    def _counts(self) -> bool:
        """Return whether this could be an attempt that has begun here. Anybody can write a cookie."""
        is_in_time = 0 <= int(time.time()) - self.begun_at <= LIFETIME
        is_named = self.project is None or is_project_name(self.project)
        is_secret = SECRET.fullmatch(self.secret) is not None
        return is_in_time and is_named and is_secret and is_own_page(self.next)

    @property
    def state(self) -> str:
        """The value that shows that the provider's answer belongs to this attempt."""
        return self._derived("state")

    @property
    def nonce(self) -> str:
        """The value that shows that the provider's token belongs to this attempt."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """The verifier of PKCE, which shows the provider who may redeem its code."""
        return self._derived("verifier")

    def is_answered_by(self, state: str | None) -> bool:
        """Return whether an answer with this state belongs to the attempt."""
        return hmac.compare_digest(self.state.encode(), (state or "").encode())

    def keep(self, response: Response, scope: Scope) -> None:
        """Let the browser keep the attempt."""
        kept = json.dumps([self.begun_at, self.secret, self.next, self.project]).encode()
        COOKIE.set(response, base64.urlsafe_b64encode(kept).decode(), LIFETIME, scope)

    def _derived(self, purpose: str) -> str:
        made = hmac.digest(self.secret.encode(), purpose.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def is_own_page(page: str) -> bool:
    """Return whether this is the path of a page of the dashboard. Browsers read `//` and `/\\` as a host."""
    if len(page) > MOST_PAGE or PAGE.fullmatch(page) is None:
        return False
    parts = urlsplit(page)
    if parts.netloc or DOT_SEGMENT.search(parts.path):
        return False
    return not f"{unquote(parts.path)}/".startswith("/v1/")
