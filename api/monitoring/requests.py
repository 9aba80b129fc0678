"""Counts the requests that an API process answers."""

from starlette.types import Scope

from core.monitoring import declared
from core.monitoring.recorder import Recorder

ELSEWHERE = "elsewhere"  # below /v1, but no route was reached: unknown, or refused before
PAGES = "pages"  # the dashboard and what else is outside of /v1
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def note_error(scope: Scope, code: str | None) -> None:
    """Remember the code of the error with which the request ends."""
    scope.setdefault("state", {})["error_code"] = code or "none"


def count_request(recorder: Recorder, scope: Scope, status: int | None, seconds: float) -> None:
    """Count a request that has ended. Routes are the API's own words, since a client chooses its paths."""
    method = scope["method"] if scope["method"] in METHODS else "other"
    labels = {"method": method, "route": _route(scope)}
    recorder.count(declared.API_REQUESTS, **labels, status=status or 0)
    recorder.observe(declared.API_SECONDS, seconds, **labels)
    if code := scope.get("state", {}).get("error_code"):
        recorder.count(declared.API_ERRORS, code=code)


def _route(scope: Scope) -> str:
    route = scope.get("route")
    if path := getattr(route, "path_format", None):
        return str(path)
    return ELSEWHERE if scope["path"].startswith("/v1/") else PAGES
