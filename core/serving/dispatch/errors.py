"""The errors that arise between a server and the process that asks it."""

from collections.abc import Mapping
from typing import Any

from core.errors import AppError, Unavailable

PASSED_ON = ("retry-after", "x-should-retry")


class ServerLost(Unavailable):
    """The server that computed the answer has stopped."""

    code = "server_lost"
    servers = 1
    """How many servers have stopped while they worked on the request."""


class RefusedByServer(AppError):
    """An answer of a server that is an error in OpenAI's form. The client gets the same error."""

    def __init__(self, status: int, error: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        super().__init__(str(error.get("message")), code=error.get("code"), param=error.get("param"))
        self.status = status
        self.type = str(error.get("type"))
        self.headers = {name: headers[name] for name in PASSED_ON if name in headers}
