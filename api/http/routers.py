"""Makes the router of a feature."""

from fastapi import APIRouter
from fastapi.routing import APIRoute

from api.http.errors import declared
from api.http.strict_json import StrictJsonRoute
from core.errors import AppError, NotAuthenticated, Unavailable


def feature(
    prefix: str, tag: str, *errors: type[AppError], route_class: type[APIRoute] = StrictJsonRoute
) -> APIRouter:
    """Return a router whose routes need a key and the database, and read JSON strictly.

    Each of them may also answer with `errors`.
    """
    responses = declared(NotAuthenticated, *errors, Unavailable)
    return APIRouter(prefix=prefix, tags=[tag], route_class=route_class, responses=responses)
