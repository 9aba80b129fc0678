"""The cookies of the dashboard, and the check that a request comes from it and not from another site."""

from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from api.admission.sign_ins import SESSION_LIFETIME, SESSION_PREFIX, NewSignIn
from core.errors import PermissionDenied
from core.settings import Settings

SIGN_IN_PATH, LINK_PATH, SESSION_PATH = "/v1/sign_in", "/v1/sign_in/link", "/v1/session"
SIGN_ON_PATH, SIGN_OFF_PATH = "/v1/sign_on", "/v1/sign_on/end"
SIGN_IN_PAGE = "/sign-in"  # of the dashboard

# The script of another site can send this header only after a preflight, which this API never answers.
OWN_HEADER = "x-tunery-dashboard"


@dataclass(frozen=True)
class HostCookie:
    """A cookie that comes only from this very host, and that no script can read.

    A browser accepts a cookie whose name begins with `__Host-` only over TLS, and only from this very host.
    So neither another host of the domain nor somebody in the network can plant one. Without TLS, browsers
    refuse such a cookie. Then the name is a plain one, which does not count in a request over TLS.
    """

    plain_name: str
    samesite: Literal["lax", "strict"]

    def read(self, scope: Scope) -> str | None:
        """Return the value that the browser has sent, or None if it has none."""
        try:
            cookie = SimpleCookie(Headers(scope=scope).get("cookie", "")).get(self._name(scope))
        except CookieError:
            return None
        return None if cookie is None else cookie.value

    def set(self, response: Response, value: str, seconds: int, scope: Scope) -> None:
        """Let the browser keep the value for so many seconds."""
        response.set_cookie(self._name(scope), value, max_age=seconds, **self._attributes(scope))

    def delete(self, response: Response, scope: Scope) -> None:
        """Let the browser forget the value. It also needs the attributes with which the cookie was set."""
        response.delete_cookie(self._name(scope), **self._attributes(scope))

    def _name(self, scope: Scope) -> str:
        return f"__Host-{self.plain_name}" if is_over_tls(scope) else self.plain_name

    def _attributes(self, scope: Scope) -> dict[str, Any]:
        return {"secure": is_over_tls(scope), "httponly": True, "samesite": self.samesite}


# A request from another site does not carry it
SESSION = HostCookie("tunery_session", "strict")


def session_of(scope: Scope) -> str | None:
    """Return the value of the browser's session, or None if the request has no value of this form."""
    value = SESSION.read(scope)
    return value if value is not None and value.startswith(SESSION_PREFIX) else None


def keep_session(response: Response, begun: NewSignIn, scope: Scope) -> None:
    """Let the browser keep the session that has begun."""
    SESSION.set(response, begun.value, int(SESSION_LIFETIME.total_seconds()), scope)


def refuse_other_sites(headers: Headers) -> None:
    """Raise PermissionDenied unless the request comes from the dashboard."""
    if OWN_HEADER not in headers or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise PermissionDenied(
            f"A browser session may change something only from the dashboard, which sends the header "
            f"`{OWN_HEADER}: 1`. Everywhere else, send an API key instead of the session's cookie.",
            code="cross_site_request",
        )


def is_over_tls(scope: Scope) -> bool:
    """Return whether the browser sent the request over TLS.

    A proxy may have ended TLS, and the API may not trust what the proxy says of it. If people open the
    dashboard by https, a browser comes by https.
    """
    settings: Settings = scope["app"].state.settings
    return settings.is_public_over_tls or bool(scope["scheme"] == "https")
