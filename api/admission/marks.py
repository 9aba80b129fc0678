"""Marks of endpoints. The middlewares run before routing, so they find the mark of a request by its path."""

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

MARKS = "_marks"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def mark(endpoint: Endpoint, name: str) -> Endpoint:
    """Add the mark `name` to the endpoint, and return the endpoint."""
    setattr(endpoint, MARKS, marks_of(endpoint) | {name})
    return endpoint


def marks_of(endpoint: Callable[..., Any]) -> frozenset[str]:
    """Return the marks of the endpoint."""
    marks: frozenset[str] = getattr(endpoint, MARKS, frozenset())
    return marks


def marked_paths(routes: Iterable[BaseRoute], name: str, *, method: str) -> re.Pattern[str]:
    """Return one pattern of the paths of all routes with this mark, so that a request needs a single match.

    All of these routes must have the method `method`, which the caller compares separately.
    """
    found = []
    for route in routes:
        if isinstance(route, APIRoute) and name in marks_of(route.endpoint):
            assert route.methods == {method}, f"{route.path}: only {method} routes can be marked as '{name}'"
            # Two routes may name a part of their paths alike, and a pattern has each name only once.
            found.append(re.sub(r"\?P<\w+>", "", route.path_regex.pattern))
    return re.compile("|".join(found) or r"(?!)")
