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
MOST_CHARACTERS = 500  # of an upstream's text
FAILED = "The upstream of this model failed to answer. Send the request again."

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
    """Return the error for an answer whose status is not 200. The log has the upstream's own text."""
    try:
        error = json.loads(content)["error"]
        message, param = str(error["message"]), error.get("param")
    except (ValueError, LookupError, TypeError, AttributeError):
        message, param = content.decode("utf-8", "replace"), None
    message = message[:MOST_CHARACTERS]
    log.warning("upstream_refused", status=status, error=message)
    return _of(status, message, param if isinstance(param, str) else None)


def failure(event: dict[str, Any]) -> AppError:
    """Return the error of an event that ends a stream. The log has the upstream's own text."""
    log.error("upstream_failed", error=str(event["error"])[:MOST_CHARACTERS])
    return SamplingFailed(FAILED)


def _of(status: int, message: str, param: str | None) -> Exception:
    if status in (401, 403):
        return ModelUnavailable(
            "The upstream of this model refuses its key. Ask the operator to set TUNERY_SERVE_UPSTREAM_KEY."
        )
    if status == 404 and UNKNOWN_MODEL in message:
        return AdapterForgotten(message)
    if status in (400, 422):
        return _bad_request(message, param)
    if status in (429, 503):
        busy = f"The upstream of this model takes no more requests (status {status}). Try again later."
        return ServerBusy(busy, retry_after=2)
    return SamplingFailed(f"{FAILED} Its status was {status}.")


def _bad_request(message: str, param: str | None) -> AppError:
    """Return the error of a request that the upstream does not take, in the upstream's words.

    They are about the client's own fields. Nobody could mend a schema or a pattern without them.
    """
    if any(option in message for option in NEEDS_OPTIONS):
        return UnsuitedServer(
            "The upstream of this model cannot call tools. Ask the operator to start it with "
            "--enable-auto-tool-choice and --tool-call-parser, or leave 'tools' out.",
            param="tools",
        )
    code = "context_length_exceeded" if TOO_LONG in message else "invalid_value"
    return InvalidRequest(message, code=code, param=param)
