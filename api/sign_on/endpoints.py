"""/v1/sign_on: a browser goes to the operator's OpenID provider, and comes back to a session.

People follow these addresses, so an error leads to the sign-in page, which says what to do. A client that
does not ask for a page gets the error as JSON.
"""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import timedelta
from functools import partial, wraps
from typing import Annotated, Any, Literal

import structlog
from anyio import to_thread
from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session, sessionmaker
from starlette.responses import RedirectResponse, Response

from api.admission import cookies, sign_ins
from api.admission.seats import Person, choose, granted, take_seats
from api.admission.sign_ins import NewSignIn
from api.admission.strangers import Strangers
from api.dependencies import AppSettings, Sessions, component
from api.http.errors import declared, expected
from api.http.routers import feature
from api.sign_on.attempt import COOKIE, Attempt
from api.sign_on.problems import PROBLEMS, problem
from api.sign_on.provider import MOST_LOGGED, Provider
from core.access import audit
from core.access.audit import Actor
from core.errors import AppError, ConfigurationError, InvalidRequest, NotFound, PermissionDenied
from core.settings import Settings
from core.settings.sign_on import CALLBACK_PATH

# The provider's own words for its failures, and for requests that it would refuse from everybody
BROKEN = ("server_error", "temporarily_unavailable")
SET_UP_WRONGLY = ("invalid_scope", "unauthorized_client", "invalid_request", "unsupported_response_type")
AT_ONCE, WAIT_SECONDS = 16, 15.0  # sign-ons that ask the provider, in each API process
MOST_GROUPS = 50  # in the log, of a person who gets no seat
HEADERS = {"cache-control": "no-store", "referrer-policy": "no-referrer"}

log = structlog.get_logger()

router = feature("", "Session", PermissionDenied, NotFound)


class SignOn:
    """The provider, and the two rooms in which people wait who sign on.

    Who waits for the provider costs no thread, so more of them may do so at once than may begin a session.
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._asking = Strangers(wait_seconds=WAIT_SECONDS, rest_seconds=0.0, at_once=AT_ONCE)
        self.beginning = Strangers()

    @classmethod
    def of(cls, settings: Settings) -> "SignOn | None":
        """Return None if there is no sign-on. Raises ConfigurationError if a setting is missing."""
        if settings.sign_on_issuer is not None:
            return cls(Provider(settings))
        if settings.sign_on_only:
            raise ConfigurationError("TUNERY_SIGN_ON_ONLY is set; set also TUNERY_SIGN_ON_ISSUER")
        return None

    async def person(self, attempt: Attempt, code: str, issuer: str | None) -> Person:
        """Return the person whom the provider names. Raises Unavailable if too many wait."""
        with ExitStack() as permit:
            await self._asking.enter(permit)
            return await self.provider.person(attempt, code, issuer)

    async def address(self, attempt: Attempt) -> str:
        """Return where the browser asks the provider. Raises Unavailable if too many wait."""
        async with self._asking.waiting():
            return await self.provider.address(attempt)

    async def address_of_end(self) -> str | None:
        """Return where the browser ends its session with the provider, if the provider has such an address.

        Raises Unavailable if too many wait.
        """
        async with self._asking.waiting():
            return await self.provider.address_of_end()


MaybeSignOn = Annotated[SignOn | None, Depends(component("sign_on"))]
Endpoint = Callable[..., Awaitable[Response]]


class WaysToSignIn(BaseModel):
    """How a browser may begin a session, for the page that offers it."""

    object: Literal["sign_in.ways"] = "sign_in.ways"
    by_key: Annotated[bool, Field(description="Whether an API key or a link begins a session")]
    sign_on: Annotated[
        str | None, Field(description="The provider's name if people sign on at /v1/sign_on, else null")
    ]
    problem: Annotated[str | None, Field(description="What the asked `problem` means, for a person")]


@router.get(cookies.SIGN_IN_PATH, responses=declared(InvalidRequest))
def ways_to_sign_in(
    settings: AppSettings,
    code: Annotated[
        str | None, Query(alias="problem", description="The problem with which a sign-on has ended")
    ] = None,
) -> WaysToSignIn:
    """Return how a browser may begin a session. This needs no key."""
    known = PROBLEMS.get(code or "")
    return WaysToSignIn(
        by_key=not settings.sign_on_only,
        sign_on=settings.sign_on_name if settings.sign_on_issuer else None,
        problem=known and known[1],
    )


def _for_people(endpoint: Endpoint) -> Endpoint:
    """Lead a browser to the sign-in page if the endpoint fails."""

    @wraps(endpoint)
    async def leading(request: Request, *args: Any, **arguments: Any) -> Response:
        try:
            response = await endpoint(request, *args, **arguments)
        except Exception as raised:  # also a database that is away, which `expected` knows
            error = expected(raised)
            if error is None:
                raise
            if error is not raised:
                log.warning("sign_on_failed", error=type(raised).__name__)
            if "text/html" not in request.headers.get("accept", ""):
                error.headers = {**error.headers, **HEADERS}
                raise error from None
            told = error.code if error.code in PROBLEMS else _problem_like(error)
            response = RedirectResponse(f"{_public(request)}{cookies.SIGN_IN_PAGE}?problem={told}", 303)
            COOKIE.delete(response, request.scope)
        response.headers.update(HEADERS)
        return response

    return leading


def _problem_like(error: AppError) -> str:
    """Return the problem that tells a person what to do about another error."""
    return "sign_on_stale" if isinstance(error, InvalidRequest) else "sign_on_unavailable"


def _configured(sign_on: SignOn | None) -> SignOn:
    if sign_on is None:
        raise problem("sign_on_not_configured")
    return sign_on


def _public(request: Request) -> str:
    return request.app.state.settings.public_url or ""


@router.get(cookies.SIGN_ON_PATH, include_in_schema=False)
@_for_people
async def begin(
    request: Request, maybe: MaybeSignOn, next: str = "/", project: str | None = None
) -> Response:
    """Lead the browser to the provider."""
    sign_on = _configured(maybe)
    is_own = request.headers.get("sec-fetch-site") == "same-origin"  # another site must not choose for them
    attempt = Attempt.begin(next, project if is_own else None)
    response = RedirectResponse(await sign_on.address(attempt), 303)
    attempt.keep(response, request.scope)
    return response


@router.get(CALLBACK_PATH, include_in_schema=False)
@_for_people
async def come_back(
    request: Request,
    maybe: MaybeSignOn,
    sessions: Sessions,
    settings: AppSettings,
    code: str | None = None,
    state: str | None = None,
    iss: str | None = None,
    error: str | None = None,
    error_description: str | None = None,
) -> Response:
    """Begin a session for the person whom the provider has sent back."""
    sign_on = _configured(maybe)
    attempt = Attempt.read(request.scope)
    if attempt is None or not attempt.is_answered_by(state):
        raise problem("sign_on_stale")
    if error is not None or not code:
        raise _refused(error, error_description)
    person = await sign_on.person(attempt, code, iss)
    with ExitStack() as permit:
        await sign_on.beginning.enter(permit)
        begun = await to_thread.run_sync(
            partial(_begin_session, sessions, settings, attempt, person, request.state.request_id)
        )
    response = RedirectResponse(f"{_public(request)}{attempt.next}", 303)
    COOKIE.delete(response, request.scope)
    cookies.keep_session(response, begun, request.scope)
    return response


def _refused(error: str | None, description: str | None) -> AppError:
    """Write to the log why the provider has signed nobody on. Return the error for the person."""
    why = (error or "")[:MOST_LOGGED], (description or "")[:MOST_LOGGED]
    log.warning("sign_on_refused_by_provider", error=why[0], description=why[1])
    if error in SET_UP_WRONGLY:
        return problem("sign_on_set_up_wrongly")
    return problem("sign_on_unavailable" if error in BROKEN else "sign_on_refused")


def _begin_session(
    sessions: sessionmaker[Session], settings: Settings, attempt: Attempt, person: Person, request_id: str
) -> NewSignIn:
    """Give the person their seats, and begin a session for one of them.

    Former seats end, also if none is left.
    """
    roles = granted(person, settings.sign_on_groups)
    with sessions.begin() as session:
        seats = take_seats(session, person, roles, timedelta(hours=settings.sign_on_hours), request_id)
        seat = choose(seats, attempt.project)
        if seat is not None:
            key = seat.key
            details = {
                "issuer": person.issuer,
                "subject": person.subject,
                "name": person.name,
                "groups": [group for group in settings.sign_on_groups if group in person.groups],
            }
            audit.record(session, Actor(key.project_id, key.id, request_id), "session.begun", key.id, details)
            return sign_ins.begin_session(session, key)
    log.warning("sign_on_without_seat", subject=person.subject, groups=person.groups[:MOST_GROUPS])
    raise problem("sign_on_without_project" if seats else "sign_on_without_group")


@router.get(cookies.SIGN_OFF_PATH, include_in_schema=False)
@_for_people
async def end(request: Request, maybe: MaybeSignOn) -> Response:
    """Lead the browser to where the provider ends its own session, and from there back to the dashboard."""
    sign_on = _configured(maybe)
    address = await sign_on.address_of_end()
    return RedirectResponse(address or f"{_public(request)}{cookies.SIGN_IN_PAGE}", 303)
