"""The errors that Tunery raises on purpose. Everything else is a bug and stays uncaught.

TuneryError
├── ConfigurationError        the operator's settings are wrong; printed by the command line
├── AppError                  a client's request cannot be met; carries its HTTP status
│   ├── InvalidRequest 400    ├── NotAuthenticated 401   ├── PermissionDenied 403
│   ├── NotFound 404          ├── Conflict 409           ├── TooLarge 413
│   ├── BeyondTheEnd 416      ├── RateLimited 429        ├── QuotaExceeded 429
│   └── Unavailable 503
├── JobError                  a job cannot go on; becomes the job's `error`
├── OutsideFault              what a job needs is away or broken; the job is requeued, with this sentence
└── LeaseLost                 this process no longer owns the job; it stops and writes nothing
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class TuneryError(Exception):
    """Base of every error raised on purpose; str() is the sentence for a person."""


class ConfigurationError(TuneryError):
    """A setting is missing or contradicts another; the sentence says which to change."""


class AppError(TuneryError):
    """A request that cannot be met, in OpenAI's error form.

    `headers` tell a client whether and when to ask again, where the status does not. `details` holds findings
    that belong to the error, such as the bad rows of a file.
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


class Conflict(AppError):
    status = 409
    type = "invalid_request_error"


class TooLarge(AppError):
    status = 413
    type = "invalid_request_error"


class BeyondTheEnd(AppError):
    """A part of a file was asked for that lies behind its `size`, in bytes."""

    status = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The range begins behind the end: there are {size} bytes.", param="range")
        self.headers = {"content-range": f"bytes */{size}"}


class RateLimited(AppError):
    """Too many requests or waiting jobs; after `retry_after` seconds there may be room."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.headers = {"retry-after": str(retry_after)}


class QuotaExceeded(AppError):
    """Waiting does not help: something must be deleted, or the quota raised."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
    headers = MappingProxyType({"x-should-retry": "false"})


class Unavailable(AppError):
    status = 503
    type = "server_error"
    code = "unavailable"


class JobError(TuneryError):
    """Why a job failed: the `code`, `message` and `param` that its client reads."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(code, message, param)
        self.code, self.message, self.param = code, message, param

    def __str__(self) -> str:
        return self.message


class OutsideFault(TuneryError):
    """Something that the job needs failed, not the job; str() is read by its client, after a requeue."""


class LeaseLost(TuneryError):
    """The fence has moved on, or the lease ran out: another process may own the job now."""
