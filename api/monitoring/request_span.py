"""The span of a request: it goes on with the trace of a client that has one."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from api.monitoring.requests import METHODS, route_of
from core.tracing import spans

PROBES = ("/healthz", "/readyz")  # asked every few seconds, for ever
TRACE_HEADER = "x-trace-id"


def begin_request_span(scope: Scope, request_id: str) -> spans.Span:
    """Begin the span of a request. Probes are not traced."""
    if not spans.is_on() or scope["path"] in PROBES:
        return spans.NOTHING
    method = _method(scope)
    known = {"http.request.method": method, "url.path": scope["path"], "tunery.request.id": request_id}
    return spans.answering(method, known, Headers(scope=scope))


def tell_trace(span: spans.Span, headers: MutableHeaders) -> None:
    """Tell the client the id of its trace, if the trace is kept."""
    if kept_in := span.kept_in:
        headers[TRACE_HEADER] = kept_in


def complete_request_span(span: spans.Span, scope: Scope, status: int | None) -> None:
    """Add what is known once the request has ended. It has no status if the client left before the answer."""
    if span.kept_in is None:
        return
    state, route = scope.get("state", {}), route_of(scope)
    code = state.get("error_code")
    found = {
        "http.route": route if route.startswith("/") else None,  # otherwise our own word for what has none
        "http.response.status_code": status,
        "tunery.project.id": getattr(state.get("caller"), "project_id", None),
        "error.type": code,
    }
    span.rename(f"{_method(scope)} {route}")
    span.set({name: value for name, value in found.items() if value is not None})
    if status is not None and status >= 500:
        span.fail(code or str(status))


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else "_OTHER"
