"""Sign-ins of browsers: links that can be followed once, and the sessions that a link or a key begins.

A session acts for its API key and ends with it. Their values are random, and only their SHA-256 is stored.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, Text, any_, bindparam, delete, exists, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from core.access.keys import HAS_EXPIRED, live, require_live, sha256_of
from core.errors import NotAuthenticated
from core.tables import ApiKey, Seat, SignIn

LINK_PREFIX, SESSION_PREFIX = "tnl_", "tns_"
LINK_LIFETIME = timedelta(minutes=15)
SESSION_LIFETIME = timedelta(days=7)

LINK_IS_GONE = (
    "This sign-in link has been used or is too old. Create a new link with `tunery dashboard`, or paste an "
    "API key."
)


def _valid(kind: str, wanted: ColumnElement[bool]) -> Select[SignIn, bool]:
    """Return the query of the links or sessions that have not ended, with whether their keys have expired."""
    query = select(SignIn, HAS_EXPIRED).join(SignIn.key)
    return query.where(wanted, SignIn.kind == kind, SignIn.expires_at > func.now())


SESSIONS = _valid("session", SignIn.sha256 == any_(bindparam("hashes", type_=ARRAY(Text))))
SESSIONS_OF_PEOPLE = SESSIONS.where(exists().where(Seat.key_id == SignIn.key_id))


@dataclass(frozen=True)
class NewSignIn:
    """A link or session that was just created. Only `value` holds it in plain text."""

    value: str
    expires_at: datetime


def create_link(session: Session, key_id: str) -> NewSignIn:
    """Create a link. The first browser that follows it acts for the key."""
    return _create(session, key_id, "link", LINK_PREFIX, LINK_LIFETIME)


def key_of_link(session: Session, value: str) -> tuple[ApiKey, datetime]:
    """Return the valid key that the link acts for, and the link's end. The link stays valid.

    Raises NotAuthenticated.
    """
    found = session.execute(_valid("link", SignIn.sha256 == sha256_of(value))).one_or_none()
    if found is None:
        raise NotAuthenticated(LINK_IS_GONE)
    link, expired = found
    require_live(link.key, expired)
    return link.key, link.expires_at


def follow_link(session: Session, value: str) -> ApiKey:
    """Delete the link, so that nobody follows it again, and return its valid key. Raises NotAuthenticated."""
    followed = delete(SignIn).where(
        SignIn.sha256 == sha256_of(value), SignIn.kind == "link", SignIn.expires_at > func.now()
    )
    key_id = session.scalar(followed.returning(SignIn.key_id))
    if key_id is None:
        raise NotAuthenticated(LINK_IS_GONE)
    key, expired = session.execute(select(ApiKey, HAS_EXPIRED).where(ApiKey.id == key_id)).one()
    require_live(key, expired)
    return key


def begin_session(session: Session, key: ApiKey) -> NewSignIn:
    """Begin a browser's session for this key, and delete expired links and sessions.

    It ends with the key at the latest.
    """
    session.execute(delete(SignIn).where(SignIn.expires_at <= func.now()))
    return _create(session, key.id, "session", SESSION_PREFIX, SESSION_LIFETIME, key.expires_at)


def authenticate_all(
    session: Session, values: Sequence[str], *, only_people: bool = False
) -> dict[str, ApiKey | NotAuthenticated]:
    """Return the valid key for which each session acts, with its project, or else the error.

    With `only_people`, the sessions of keys that are nobody's seat have ended. All take one query together.
    """
    hashes = {value: sha256_of(value) for value in values}
    wanted = SESSIONS_OF_PEOPLE if only_people else SESSIONS
    rows = session.execute(wanted, {"hashes": list(hashes.values())}).all()
    found = {sign_in.sha256: live(sign_in.key, expired) for sign_in, expired in rows}
    return {value: found.get(sha256) or _is_over() for value, sha256 in hashes.items()}


def _is_over() -> NotAuthenticated:
    return NotAuthenticated("Your session is over. Sign in again.", code="session_ended")


def expiry(session: Session, value: str) -> datetime | None:
    """Return the time at which a link or session expires, or None if it does not exist."""
    return session.scalar(select(SignIn.expires_at).where(SignIn.sha256 == sha256_of(value)))


def end_session(session: Session, value: str) -> None:
    """Delete the session of this value."""
    session.execute(delete(SignIn).where(SignIn.sha256 == sha256_of(value)))


def _create(
    session: Session,
    key_id: str,
    kind: str,
    prefix: str,
    lifetime: timedelta,
    latest: datetime | None = None,
) -> NewSignIn:
    value = prefix + secrets.token_hex(24)
    end = func.now() + lifetime
    made = SignIn(sha256=sha256_of(value), kind=kind, key_id=key_id)
    made.expires_at = end if latest is None else func.least(end, latest)
    session.add(made)
    session.flush()
    session.refresh(made)
    return NewSignIn(value, made.expires_at)
