"""The errors of the server, in OpenAI's form. The API hands them on, or asks another server."""

from types import MappingProxyType
from typing import Any

from core.errors import AppError, RateLimited, Unavailable


class ServerBusy(RateLimited):
    """As many requests as the server takes are waiting or running."""

    code = "server_busy"


class WaitedTooLong(Unavailable):
    """The answer has not begun in time: other requests were before it, or the model is still being loaded."""

    code = "server_busy"


class Stopping(Unavailable):
    """The server is told to stop. It takes no new requests, and may end those that it works on."""

    code = "server_stopping"


class ReaderTooSlow(AppError):
    """The client reads so slowly that the answer would fill the memory."""

    status = 408
    type = "invalid_request_error"
    code = "reader_too_slow"


class ModelUnavailable(AppError):
    """The model cannot be loaded here, and waiting does not help: the operator must act."""

    status = 503
    type = "server_error"
    code = "model_unavailable"
    headers = MappingProxyType({"x-should-retry": "false"})


class AdapterDamaged(AppError):
    """The adapter's files are not those that were published, or cannot be used on the base model."""

    status = 409
    type = "invalid_request_error"
    code = "adapter_damaged"
    headers = MappingProxyType({"x-should-retry": "false"})


class SamplingFailed(AppError):
    """The computation of an answer failed. The reason is in the server's log."""

    code = "sampling_failed"


def error_body(error: AppError) -> dict[str, Any]:
    """Return the error in OpenAI's form."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }
