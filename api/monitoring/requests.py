"""Counts the requests that an API process answers."""

from typing import Any

from starlette.types import Scope

from core.monitoring import declared
from core.monitoring.recorder import Recorder

ELSEWHERE = "elsewhere"  # below /v1, but no route was reached: unknown, or refused before
PAGES = "pages"  # the dashboard and what else is outside of /v1
NO_SERVER = "no_server"  # an alert watches it, and Prometheus sees no increase in a series that begins at 1
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def note_error(scope: Scope, code: str | None) -> None:
    """Remember the code of the error with which the request ends."""
    scope.setdefault("state", {})["error_code"] = code or "none"


class RequestCounts:
    """Counts the requests of an app. It keeps the series: to find them takes longer than to count."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._series: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        recorder.count(declared.API_ERRORS, 0, code=NO_SERVER)

    def count(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Count a request that has ended. Routes are the API's own words: a client chooses its paths."""
        method = scope["method"] if scope["method"] in METHODS else "other"
        requests, durations = self._series_of(method, route_of(scope), status or 0)
        requests.inc()
        durations.observe(seconds)
        if code := scope.get("state", {}).get("error_code"):
            self._recorder.count(declared.API_ERRORS, code=code)

    def _series_of(self, method: str, route: str, status: int) -> tuple[Any, Any]:
        found = self._series.get((method, route, status))
        if found is None:
            labels: dict[str, object] = {"method": method, "route": route}
            requests = self._recorder.series(declared.API_REQUESTS, {**labels, "status": status})
            durations = self._recorder.series(declared.API_SECONDS, labels)
            found = self._series[method, route, status] = requests, durations
        return found


def route_of(scope: Scope) -> str:
    """Return the API's own word for the path of a request that has been routed."""
    route = scope.get("route")
    if path := getattr(route, "path_format", None):
        return str(path)
    return ELSEWHERE if scope["path"].startswith("/v1/") else PAGES
