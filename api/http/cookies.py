"""The dashboard's cookie, and the check that a request comes from the dashboard and not from another site."""

from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.responses import Response

from core.access.sign_ins import SESSION_LIFETIME, SESSION_PREFIX, NewSignIn
from core.errors import PermissionDenied

COOKIE = "tunery_session"
SIGN_IN_PATH, SESSION_PATH = "/v1/sign_in", "/v1/session"

# The script of another site can send this header only after a preflight, which this API never answers.
OWN_HEADER = "x-tunery-dashboard"


def session_token(headers: Headers) -> str | None:
    """Return the token of the browser's session, or None if the request has no token of this form."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie is not None and cookie.value.startswith(SESSION_PREFIX) else None


def refuse_other_sites(headers: Headers) -> None:
    """Raise PermissionDenied unless the request comes from the dashboard."""
    if OWN_HEADER not in headers or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise PermissionDenied(
            f"A browser session may change something only from the dashboard, which sends the header "
            f"`{OWN_HEADER}: 1`. Everywhere else, send an API key instead of the session's cookie.",
            code="cross_site_request",
        )


def set_cookie(response: Response, begun: NewSignIn, *, secure: bool) -> None:
    """Set the cookie. Scripts cannot read it, and a request from another site does not carry it."""
    response.set_cookie(
        COOKIE,
        begun.token,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def delete_cookie(response: Response) -> None:
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
