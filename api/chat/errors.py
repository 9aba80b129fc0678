"""The errors of chats and completions that a server reports, or that no server can be blamed for."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from core.errors import AppError, Conflict, Unavailable

PASSED_ON = ("retry-after", "x-should-retry")


class SamplingFailed(AppError):
    """The computation of the answer failed. The log of the server that sampled has the reason."""

    code = "sampling_failed"


class ReaderTooSlow(AppError):
    """The client reads so slowly that the answer would fill the server's memory."""

    status = 408
    type = "invalid_request_error"
    code = "reader_too_slow"


class AdapterDamaged(Conflict):
    """The files of the adapter are not those that were published, or do not fit the base model."""

    code = "adapter_damaged"
    headers = MappingProxyType({"x-should-retry": "false"})


class ServerLost(Unavailable):
    """The server that computed the answer has stopped."""

    code = "server_lost"


class RefusedByServer(AppError):
    """An answer of a server that is an error in OpenAI's form. The client gets the same error."""

    def __init__(self, status: int, error: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        super().__init__(str(error.get("message")), code=error.get("code"), param=error.get("param"))
        self.status = status
        self.type = str(error.get("type"))
        self.headers = {name: headers[name] for name in PASSED_ON if name in headers}


def error_event(error: AppError) -> bytes:
    """Return the last event of a stream that cannot be finished. OpenAI's client raises it as an error."""
    found = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return b"data: " + json.dumps({"error": found}, ensure_ascii=False).encode() + b"\n\n"
