"""The errors of an upstream, in the form that the API hands on, or asks another server for."""

import json
from typing import Any

import structlog

from core.errors import AppError, InvalidRequest, TuneryError, Unavailable
from core.serving.errors import SamplingFailed, UnsuitedServer
from worker.server.errors import ModelUnavailable, ServerBusy

TOO_LONG = "maximum context length"
NEEDS_OPTIONS = ("--enable-auto-tool-choice", "--tool-call-parser", "tool parser")
UNKNOWN_MODEL = "does not exist"

log = structlog.get_logger()


class LoadingRefused(TuneryError):
    """The upstream does not load an adapter. `str()` is its reason."""


class AdapterForgotten(TuneryError):
    """The upstream does not know the adapter any more: it was started anew."""


class UpstreamLost(Unavailable):
    """The upstream cannot be reached, or does not answer."""

    code = "upstream_lost"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The server that samples from the model does not answer ({reason}). Send the request again."
        )


def refusal(status: int, content: bytes) -> Exception:
    """Return the error for an answer whose status is not 200."""
    try:
        error = json.loads(content)["error"]
        return _of(status, str(error["message"]), error.get("param"))
    except (ValueError, LookupError, TypeError, AttributeError):
        return _of(status, content[:500].decode("utf-8", "replace"), None)


def failure(event: dict[str, Any]) -> AppError:
    """Return the error of an event that ends a stream."""
    error = event["error"]
    message = error.get("message") if isinstance(error, dict) else error
    return SamplingFailed(f"The computation of the answer failed: {message}")


def _of(status: int, message: str, param: Any) -> Exception:
    named = param if isinstance(param, str) else None
    if status in (401, 403):
        log.error("upstream_refused_the_key")
        return ModelUnavailable(
            "The upstream of this model refuses its key. Ask the operator to set TUNERY_SERVE_UPSTREAM_KEY."
        )
    if status == 404 and UNKNOWN_MODEL in message:
        return AdapterForgotten(message)
    if status in (400, 404, 422):
        return _bad_request(message, named)
    if status in (429, 503):
        return ServerBusy(f"The upstream of this model takes no more requests: {message}", retry_after=2)
    log.error("upstream_failed", status=status, error=message)
    return SamplingFailed("The upstream of this model failed to answer. Send the request again.")


def _bad_request(message: str, param: str | None) -> AppError:
    if any(option in message for option in NEEDS_OPTIONS):
        return UnsuitedServer(
            f"The upstream of this model cannot call tools: {message} Ask the operator to start it with "
            "these options, or leave 'tools' out.",
            param="tools",
        )
    code = "context_length_exceeded" if TOO_LONG in message else "invalid_value"
    return InvalidRequest(message, code=code, param=param)
