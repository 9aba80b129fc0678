"""Reads JSON bodies strictly.

It refuses repeated keys, NaN and infinity, deep nesting, and text that Postgres cannot hold.
`api.admission.bodies` has read the body before, and refuses large and slow ones.
"""

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.http.errors import declared
from core.errors import BodyTooSlow, TooLarge
from core.strict_json import UNSTORABLE, NotANumber, RepeatedKeys, mark_repeated_keys, refuse_constant

MAX_JSON_DEPTH = 32


class StrictJsonRoute(APIRoute):
    """A route whose JSON body is read by `strict_loads`. It declares the errors of `WholeBodies`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if "POST" in (options.get("methods") or ()):
            options["responses"] = declared(TooLarge, BodyTooSlow) | (options.get("responses") or {})
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly


class StrictRequest(Request):
    """A request whose JSON is read by `strict_loads`."""

    async def json(self) -> Any:
        return strict_loads(await self.body())


def strict_loads(body: bytes) -> Any:
    """Parse JSON. Raises JSONDecodeError for every fault, and FastAPI makes a validation error of it."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("Not UTF-8", "", error.start) from error
    try:
        value = json.loads(
            text, object_pairs_hook=mark_repeated_keys, parse_constant=refuse_constant, parse_float=_finite
        )
        _refuse_surprises(value, depth=0)
    except json.JSONDecodeError:
        raise
    except NotANumber as error:
        raise json.JSONDecodeError(f"{error} is not a JSON number", "", 0) from error
    except RecursionError as error:
        raise json.JSONDecodeError("Nested too deeply", "", 0) from error
    except ValueError as error:
        raise json.JSONDecodeError(str(error), "", 0) from error
    return value


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:32]} is too large a number")
    return number


def _refuse_surprises(value: Any, depth: int) -> None:
    """Raise ValueError for a repeated key, for too many levels, and for text that Postgres cannot hold."""
    if depth > MAX_JSON_DEPTH:
        raise ValueError(f"Nested more than {MAX_JSON_DEPTH} levels deep")
    if isinstance(value, str):
        if UNSTORABLE.search(value):
            raise ValueError("A string holds \\u0000 or an unpaired surrogate")
    elif isinstance(value, RepeatedKeys):
        raise ValueError(f"The key {value.key[:64]!r} stands twice in one object")
    elif isinstance(value, dict):
        for name, member in value.items():
            _refuse_surprises(name, depth)
            _refuse_surprises(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _refuse_surprises(member, depth + 1)
