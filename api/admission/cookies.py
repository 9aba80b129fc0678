"""The dashboard's cookie, and the check that a request comes from the dashboard and not from another site."""

from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from api.admission.sign_ins import SESSION_LIFETIME, SESSION_PREFIX, NewSignIn
from core.errors import PermissionDenied
from core.settings import Settings

# A browser accepts a cookie whose name begins with `__Host-` only over TLS, and only from this very host. So
# neither another host of the domain nor somebody in the network can plant a session. Without TLS, browsers
# refuse such a cookie. Then the name is a plain one, which does not count in a request over TLS.
COOKIE, PLAIN_COOKIE = "__Host-tunery_session", "tunery_session"
SIGN_IN_PATH, LINK_PATH, SESSION_PATH = "/v1/sign_in", "/v1/sign_in/link", "/v1/session"
SIGN_ON_PATH, SIGN_OFF_PATH = "/v1/sign_on", "/v1/sign_on/end"
SIGN_IN_PAGE = "/sign-in"  # of the dashboard

# The script of another site can send this header only after a preflight, which this API never answers.
OWN_HEADER = "x-tunery-dashboard"


def cookie_of(scope: Scope, name: str) -> str | None:
    """Return the value of the browser's cookie of this name, or None if it has none."""
    try:
        cookie = SimpleCookie(Headers(scope=scope).get("cookie", "")).get(name)
    except CookieError:
        return None
    return None if cookie is None else cookie.value


def session_of(scope: Scope) -> str | None:
    """Return the value of the browser's session, or None if the request has no value of this form."""
    value = cookie_of(scope, _cookie_name(scope))
    return value if value is not None and value.startswith(SESSION_PREFIX) else None


def refuse_other_sites(headers: Headers) -> None:
    """Raise PermissionDenied unless the request comes from the dashboard."""
    if OWN_HEADER not in headers or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise PermissionDenied(
            f"A browser session may change something only from the dashboard, which sends the header "
            f"`{OWN_HEADER}: 1`. Everywhere else, send an API key instead of the session's cookie.",
            code="cross_site_request",
        )


def set_cookie(response: Response, begun: NewSignIn, scope: Scope) -> None:
    """Set the cookie. Scripts cannot read it, and a request from another site does not carry it."""
    response.set_cookie(
        _cookie_name(scope),
        begun.value,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        secure=is_over_tls(scope),
        httponly=True,
        samesite="strict",
    )


def delete_cookie(response: Response, scope: Scope) -> None:
    """Delete the cookie. A browser also needs the attributes with which the cookie was set."""
    response.delete_cookie(_cookie_name(scope), secure=is_over_tls(scope), httponly=True, samesite="strict")


def _cookie_name(scope: Scope) -> str:
    return COOKIE if is_over_tls(scope) else PLAIN_COOKIE


def is_over_tls(scope: Scope) -> bool:
    """Return whether the browser sent the request over TLS.

    A proxy may have ended TLS, and the API may not trust what the proxy says of it. If people open the
    dashboard by https, a browser comes by https.
    """
    settings: Settings = scope["app"].state.settings
    return settings.is_public_over_tls or bool(scope["scheme"] == "https")
