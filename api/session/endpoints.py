"""/v1/sign_in and /v1/session: a browser acts for an API key by a cookie, and does not keep the key."""

from typing import Annotated, Any, Literal

from fastapi import Header, Request, Response
from pydantic import SecretStr
from sqlalchemy.orm import Session

from api.admission import cookies, seats, sign_ins
from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings, Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, created
from api.http.routers import feature
from api.schemas import unix_seconds
from api.session.schemas import LinkedKey, SessionObject, ShowLink, SignIn, SignInLink
from core.access import audit, keys
from core.access.audit import Actor
from core.errors import Conflict, InvalidRequest, PermissionDenied, TooLarge
from core.settings import Settings
from core.tables import ApiKey

LINK_PATH = f"{cookies.SIGN_IN_PAGE}#link="

OwnHeader = Annotated[
    Literal["1"] | None,
    Header(
        alias=cookies.OWN_HEADER,
        description="Required. It shows that the dashboard sends the request: other sites cannot send it",
    ),
]

router = feature("", "Session", PermissionDenied)


@router.post(cookies.SIGN_IN_PATH, responses=declared(InvalidRequest, TooLarge))
def sign_in(
    session: Transaction,
    settings: AppSettings,
    request: Request,
    response: Response,
    body: SignIn,
    _header: OwnHeader = None,
) -> SessionObject:
    """Begin a browser session, with an API key or a sign-in link. The answer sets the session's cookie.

    The request needs the header `x-tunery-dashboard: 1`, as does each request by which a session changes
    something.
    """
    cookies.refuse_other_sites(request.headers)
    _refuse_if_people_sign_on(settings)
    key = _key_of(session, body)
    begun = sign_ins.begin_session(session, key)
    actor = Actor(key.project_id, key.id, request.state.request_id)
    audit.record(session, actor, "session.begun", key.id)
    cookies.keep_session(response, begun, request.scope)
    return SessionObject.of(key, settings.operator_project, begun.expires_at)


def _refuse_if_people_sign_on(settings: Settings) -> None:
    if settings.sign_on_only:
        raise PermissionDenied(
            f"Here, people sign in with {settings.sign_on_name}. API keys are for programs.",
            code="sign_on_only",
        )


def _key_of(session: Session, body: SignIn) -> ApiKey:
    match body.api_key, body.link:
        case SecretStr() as key, None:
            return keys.authenticate(session, key.get_secret_value())
        case None, SecretStr() as link:
            return sign_ins.follow_link(session, link.get_secret_value())
    raise InvalidRequest("Send either `api_key` or `link`: one of them, and not both.", param="api_key")


@router.post(cookies.LINK_PATH, responses=declared(InvalidRequest, TooLarge))
def show_link(
    session: Transaction,
    settings: AppSettings,
    request: Request,
    body: ShowLink,
    _header: OwnHeader = None,
) -> LinkedKey:
    """Return whose API key a sign-in link acts for, so that a person can decide whether to follow the link.

    The link stays valid. The request needs the header `x-tunery-dashboard: 1`.
    """
    cookies.refuse_other_sites(request.headers)
    _refuse_if_people_sign_on(settings)
    key, expires_at = sign_ins.key_of_link(session, body.link.get_secret_value())
    return LinkedKey.of(key, expires_at)


@router.get(cookies.SESSION_PATH)
def retrieve_session(
    session: Transaction, caller: CurrentCaller, settings: AppSettings, request: Request
) -> SessionObject:
    """Return the project, the role and the API key that the caller acts for."""
    browser = cookies.session_of(request.scope)
    expires_at = None if browser is None else sign_ins.expiry(session, browser)
    key = session.get_one(ApiKey, caller.key_id)
    projects = seats.projects_of(session, key.id)
    return SessionObject.of(key, settings.operator_project, expires_at, projects)


@router.delete(cookies.SESSION_PATH, status_code=204)
def sign_out(session: Transaction, request: Request, caller: CurrentCaller, response: Response) -> None:
    """End the browser session. The API key stays valid.

    If a person has signed on, their sessions in other browsers and in their other projects end too.
    """
    browser = cookies.session_of(request.scope)
    if browser is not None:
        sign_ins.end_session(session, browser)
        seats.end_sessions_of(session, str(caller.key_id))
        audit.record(session, caller, "session.ended", str(caller.key_id))
    cookies.SESSION.delete(response, request.scope)


@router.post(f"{cookies.SESSION_PATH}/links", responses=declared(InvalidRequest, Conflict))
def create_sign_in_link(
    session: Transaction, settings: AppSettings, caller: CurrentCaller, attempt: ThisAttempt
) -> SignInLink:
    """Create a link that begins a session for the caller's API key. It works once, within 15 minutes.

    People who have signed on get no link: they sign on in their other browsers too.
    """
    _refuse_if_people_sign_on(settings)
    if seats.is_seat(session, caller.key_id):
        raise PermissionDenied(
            "You have signed on, and there are no links for that. Sign on in the other browser too.",
            code="sign_on_only",
        )

    def create() -> SignInLink:
        link = sign_ins.create_link(session, str(caller.key_id))
        audit.record(session, caller, "sign_in_link.created", str(caller.key_id))
        return SignInLink(path=LINK_PATH + link.value, expires_at=unix_seconds(link.expires_at))

    def is_unused(session: Session, answer: dict[str, Any]) -> bool:
        return sign_ins.expiry(session, answer["path"].removeprefix(LINK_PATH)) is not None

    return created(session, attempt, SignInLink, "", create, is_unused, shows_secret=True)
