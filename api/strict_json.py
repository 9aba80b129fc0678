"""JSON bodies without surprises: bounded, no key twice, no NaN, nothing that the database cannot hold."""

import json
import math
import re
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

MAX_JSON_BYTES = 1024**2
MAX_JSON_DEPTH = 32
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class StrictJsonRoute(APIRoute):
    """A route whose JSON body is read by `strict_loads` and is at most 1 MiB long."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly


class StrictRequest(Request):
    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            body = bytearray()
            async for chunk in self.stream():
                body += chunk
                if len(body) > MAX_JSON_BYTES:
                    raise HTTPException(413, f"A JSON body may have {MAX_JSON_BYTES} bytes at most.")
            self._body = bytes(body)
        return self._body

    async def json(self) -> Any:
        return strict_loads(await self.body())


def strict_loads(body: bytes) -> Any:
    """Parse JSON. Raises JSONDecodeError for all that is wrong: FastAPI makes a validation error of it."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("Not UTF-8", "", error.start) from error
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite
        )
        _refuse_unstorable(value, depth=0)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise json.JSONDecodeError("Nested too deeply", "", 0) from error
    except ValueError as error:
        raise json.JSONDecodeError(str(error), "", 0) from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"The key {twice[:64]!r} stands twice in one object")
    return unique


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:32]} is too large a number")
    return number


def _refuse_unstorable(value: Any, depth: int) -> None:
    """Postgres holds neither NUL nor half of a surrogate pair."""
    if depth > MAX_JSON_DEPTH:
        raise ValueError(f"Nested more than {MAX_JSON_DEPTH} levels deep")
    if isinstance(value, str):
        if UNSTORABLE.search(value):
            raise ValueError("A string holds \\u0000 or an unpaired surrogate")
    elif isinstance(value, dict):
        for name, member in value.items():
            _refuse_unstorable(name, depth)
            _refuse_unstorable(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _refuse_unstorable(member, depth + 1)
