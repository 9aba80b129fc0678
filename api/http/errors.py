"""Errors in OpenAI's form: {"error": {"message", "type", "param", "code"}}."""

import errno
from typing import Annotated, Any

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as StoreConnectionError
from fastapi import Request
from fastapi.routing import iter_route_contexts
from psycopg.errors import UndefinedColumn, UndefinedTable
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import compile_path

from api.monitoring.requests import note_error
from core.errors import AppError, ConfigurationError, InvalidRequest, NotFound, Unavailable

RETRY_AFTER_SECONDS = 2
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

# These headers tell a client what to do. Without them, OpenAI's client would make a wrong guess.
HEADERS = {
    401: {"www-authenticate": "Bearer"},
    409: {"x-should-retry": "false"},
    503: {"retry-after": str(RETRY_AFTER_SECONDS)},
}


class ErrorObject(BaseModel):
    message: Annotated[str, Field(description="What is wrong, for a person")]
    type: str
    param: Annotated[
        str | None, Field(description="The path of the parameter that is wrong, such as `adapter.r`")
    ]
    code: Annotated[str | None, Field(description="What is wrong, for a program")]
    details: Annotated[
        list[dict[str, Any]] | None,
        Field(description="Findings that belong to the error, such as the bad rows of a file"),
    ] = None


class ErrorBody(BaseModel):
    error: ErrorObject


class MethodNotAllowed(AppError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class InternalError(AppError):
    """The server has a bug. The client learns the request's id, and the reason is in the server's log."""

    code = "internal_error"


def declared(*errors: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route that answers with these errors.

    They include `default`, the form that all other errors share.
    """
    responses: dict[int | str, dict[str, Any]] = {
        error.status: {"model": ErrorBody, "description": (error.__doc__ or error.__name__).strip()}
        for error in errors
    }
    return {**responses, "default": {"model": ErrorBody, "description": "Any other error, in the same form"}}


def error_response(error: AppError, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the response for an error, with the headers of its status and those of the error itself."""
    return JSONResponse(
        error.body(),
        status_code=error.status,
        headers=HEADERS.get(error.status, {}) | dict(error.headers) | (headers or {}),
    )


def expected(error: Exception) -> AppError | None:
    """Return the error that the client sees, or None if `error` is a bug."""
    match error:
        case AppError():
            return error
        case OperationalError() | InterfaceError() | PoolExhausted():
            return Unavailable("The database cannot be reached at the moment. Try again in a few seconds.")
        case ConfigurationError():  # of the first connection behind a pooler, see `core/database.py`
            return Unavailable("The database is not set up yet. The log of the API says what is missing.")
        case ProgrammingError() if isinstance(error.orig, UndefinedTable | UndefinedColumn):
            return Unavailable(  # `tunery up` starts the API while it still prepares the tables
                "The tables are not up to date yet. Try again in a few seconds. If this lasts, run "
                "`tunery migrate`."
            )
        case HTTPClientError() | StoreConnectionError():
            return _storage_down()
        case ClientError() if error.response["Error"]["Code"] == "RequestTimeTooSkewed":
            return Unavailable("The clocks of this server and of its object store differ too much.")
        case ClientError() if error.response["ResponseMetadata"].get("HTTPStatusCode", 0) >= 500:
            return _storage_down()
        case OSError() if error.errno in FULL_DISK:
            return Unavailable("The disk is full on which this server keeps uploads. Try again later.")
    return None


NOT_SERVED = frozenset(
    {"assistants", "audio", "batches", "containers", "conversations", "embeddings", "images", "moderations"}
    | {"realtime", "threads", "vector_stores", "videos"}
)
"""Clients of OpenAI are likely to ask for these parts of its API too."""


async def answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Answer one of Starlette's own errors, such as an unknown URL."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    named = _named(error, request)
    note_error(request.scope, named.code)
    return error_response(named, headers)


def _named(error: HTTPException, request: Request) -> AppError:
    method, path = request.method, request.url.path
    if error.status_code == 404:
        return NotFound(f"Invalid URL ({method} {path}){_instead(path)}", code="unknown_url")
    if error.status_code == 405:
        return MethodNotAllowed(f"Not allowed to {method} on {path}")
    return InvalidRequest(error.detail)


def _instead(path: str) -> str:
    """Return what to ask instead of a URL that clients of OpenAI are likely to ask."""
    if path.startswith("/v1/v1/"):
        return ". The base URL ends in a single /v1."
    if f"{path}/".startswith("/v1/responses/"):
        return ". The Responses API is not served: POST /v1/chat/completions answers chats."
    if path.removeprefix("/v1/").partition("/")[0] in NOT_SERVED:
        return ". This part of OpenAI's API is not served: /guide/migrate-from-openai says what is missing."
    return ""


def _methods(request: Request) -> set[str]:
    """Return the methods of all routes with the request's path. Starlette knows only the first route's."""
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.path is not None and compile_path(route.path)[0].match(request.url.path):
            found |= route.methods or set()
    return found


def _storage_down() -> Unavailable:
    return Unavailable("The object store cannot be reached at the moment. Try again in a few seconds.")
