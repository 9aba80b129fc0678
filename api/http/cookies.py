"""The dashboard's cookie, and what tells its requests from those that another site makes a browser send."""

from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.responses import Response

from core.access.sign_ins import SESSION_LIFETIME, SESSION_PREFIX, NewSignIn
from core.errors import PermissionDenied

COOKIE = "tunery_session"
SIGN_IN_PATH, SESSION_PATH = "/v1/sign_in", "/v1/session"

# Another site's script could send it only after a preflight, which this API never answers.
OWN_HEADER = "x-tunery-dashboard"


def session_token(headers: Headers) -> str | None:
    """Of the browser's session. None where it sent none, or nothing that could be one."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie is not None and cookie.value.startswith(SESSION_PREFIX) else None


def refuse_other_sites(headers: Headers) -> None:
    """Raises PermissionDenied."""
    if OWN_HEADER not in headers or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise PermissionDenied(
            f"A session may change something only from the dashboard, which sends `{OWN_HEADER}: 1`. "
            "Elsewhere, send an API key.",
            code="cross_site_request",
        )


def set_cookie(response: Response, begun: NewSignIn, *, secure: bool) -> None:
    """Scripts cannot read it, and no other site's request carries it."""
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
