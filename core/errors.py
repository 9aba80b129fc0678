"""The errors that Tunery raises on purpose. Everything else is a bug and stays uncaught.

TuneryError
├── ConfigurationError        the operator's settings are wrong; printed by the command line
├── AppError                  a client's request cannot be met; carries its HTTP status
│   ├── InvalidRequest 400    ├── NotAuthenticated 401   ├── PermissionDenied 403
│   ├── NotFound 404          ├── BodyTooSlow 408        ├── Conflict 409
│   ├── TooLarge 413          ├── BeyondTheEnd 416       ├── RateLimited 429
│   ├── QuotaExceeded 429     └── Unavailable 503
├── JobError                  a job cannot continue; the error becomes the job's `error`
├── OutsideFault              something that a job needs is unreachable or broken; the job is requeued
└── LeaseLost                 this process no longer owns the job; it stops and writes nothing
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class TuneryError(Exception):
    """The base of every error that is raised on purpose. `str()` is a sentence for a person."""


class ConfigurationError(TuneryError):
    """A setting is missing or contradicts another. The message says which setting to change."""


class AppError(TuneryError):
    """A request that cannot be fulfilled, in OpenAI's form of an error.

    `headers` tell a client whether and when to repeat the request, if the status alone does not tell it.
    `details` holds findings that belong to the error, such as the wrong rows of a file.
    """

    status = 500
    type = "server_error"
    code: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        details: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param
        self.details = details

    def body(self) -> dict[str, Any]:
        """Return the error in OpenAI's form, with the details beside it if there are any."""
        found = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": found if self.details is None else {**found, "details": self.details}}


class InvalidRequest(AppError):
    status = 400
    type = "invalid_request_error"


class NotAuthenticated(AppError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class PermissionDenied(AppError):
    status = 403
    type = "invalid_request_error"
    code = "insufficient_permissions"


class NotFound(AppError):
    status = 404
    type = "invalid_request_error"


class BodyTooSlow(AppError):
    """The body did not arrive in time. The connection is closed, since the rest may still come."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"
    headers = MappingProxyType({"connection": "close"})


class Conflict(AppError):
    status = 409
    type = "invalid_request_error"


class TooLarge(AppError):
    status = 413
    type = "invalid_request_error"


class BeyondTheEnd(AppError):
    """A request for a part of a file that begins after its end. `size` is the file's size in bytes."""

    status = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(
            f"The range begins after the end of the file, which has {size} bytes.", param="range"
        )
        self.headers = {"content-range": f"bytes */{size}"}


class RateLimited(AppError):
    """Too many requests or waiting jobs. The client may repeat the request after `retry_after` seconds."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.headers = {"retry-after": str(retry_after)}


class QuotaExceeded(AppError):
    """A quota is used up. Waiting does not help: something must be deleted, or the quota raised."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
    headers = MappingProxyType({"x-should-retry": "false"})


class Unavailable(AppError):
    status = 503
    type = "server_error"
    code = "unavailable"


class JobError(TuneryError):
    """The reason why a job failed, with the `code`, `message` and `param` that its client reads."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(code, message, param)
        self.code, self.message, self.param = code, message, param

    def __str__(self) -> str:
        return self.message


class OutsideFault(TuneryError):
    """Something that a job needs has failed, but not the job itself.

    The job is requeued, and `str()` becomes a part of its events, which its client reads.
    """


class LeaseLost(TuneryError):
    """The fence has changed or the lease has expired, so another process may own the job now."""
