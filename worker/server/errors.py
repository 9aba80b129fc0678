"""The errors of the server, in OpenAI's form. The API hands them on, or asks another server."""

from types import MappingProxyType

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


class ModelUnavailable(AppError):
    """The model cannot be loaded here, and waiting does not help: the operator must act."""

    status = 503
    type = "server_error"
    code = "model_unavailable"
    headers = MappingProxyType({"x-should-retry": "false"})
