"""Answers browsers outside of /v1: with a built file, or else with the page.

The page does the rest of the routing itself, in the browser. The build has compressed copies of its files,
which are sent to whoever takes them.
"""

from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from api.admission.auth import is_of_dashboard
from core.errors import NotFound

BUILT = Path(__file__).resolve().parent.parent / "dashboard" / "dist"
PAGE = "index.html"
API_REFERENCE = {"docs": "docs/index.html"}  # the page that shows the OpenAPI document, with Swagger UI
ASSETS = "assets/"  # each file's name has a hash of its content

NOT_BUILT = "The dashboard is not built: run `make setup` to build it. The API is there, under /v1."

# The page loads nothing from other sites, and runs no inline script or style. No site may show it in a frame.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
COPIES = {"br": ".br", "gzip": ".gz"}  # the encodings of the copies, the smallest first
FOR_A_YEAR, ASK_AGAIN = "public, max-age=31536000, immutable", "no-cache"
KEPT = {"mark.svg": "public, max-age=86400"}  # each page shows it twice: in its frame and as its icon


class Dashboard(StaticFiles):
    """ASGI middleware that answers GET and HEAD requests outside of /v1, but for the API's own paths."""

    def __init__(self, app: ASGIApp, folder: Path = BUILT) -> None:
        super().__init__(directory=folder, check_dir=False)
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_of_dashboard(scope):
            await super().__call__(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def check_config(self) -> None:
        """Allow the folder to be missing, or to appear later."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file or the page, with the headers of a dashboard. Raises NotFound."""
        response = await self._find(path, scope)
        response.headers.update(HEADERS)
        kept = FOR_A_YEAR if path.startswith(ASSETS) else KEPT.get(path, ASK_AGAIN)
        response.headers["cache-control"] = kept
        return response

    async def _find(self, path: str, scope: Scope) -> Response:
        try:
            return await self._smallest(API_REFERENCE.get(path, path), scope)
        except HTTPException:
            if path.startswith(ASSETS):
                raise NotFound("The dashboard has no such file; reload the page.") from None
        try:
            return await self._smallest(PAGE, scope)
        except HTTPException as error:
            raise NotFound(NOT_BUILT, code="dashboard_not_built") from error

    async def _smallest(self, path: str, scope: Scope) -> Response:
        """Return the file, or a compressed copy of it if there is one that the browser takes."""
        for encoding in accepted_encodings(Headers(scope=scope).get("accept-encoding", "")):
            try:
                response = await super().get_response(path + COPIES[encoding], scope)
            except HTTPException:
                continue
            response.headers.update({"content-encoding": encoding, "vary": "accept-encoding"})
            return response
        response = await super().get_response(path, scope)
        response.headers["vary"] = "accept-encoding"
        return response


def accepted_encodings(accepted: str) -> list[str]:
    """Return the encodings of our copies that a header `Accept-Encoding` allows, the smallest first."""
    names = [
        name.strip()
        for name, _, weight in (part.partition(";") for part in accepted.split(","))
        if weight.replace(" ", "") not in ("q=0", "q=0.0")
    ]
    return [encoding for encoding in COPIES if encoding in names]
