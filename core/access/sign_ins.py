"""Sign-ins of browsers: a link that can be followed once, and the session that it, or a key, begins.

A session acts for its key, and ends with it. Tokens are random, and kept as a SHA-256 only.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.access.keys import HAS_EXPIRED, require_live
from core.errors import NotAuthenticated
from core.tables import ApiKey, SignIn

LINK_PREFIX, SESSION_PREFIX = "tnl_", "tns_"
LINK_LIFETIME = timedelta(minutes=15)
SESSION_LIFETIME = timedelta(days=7)

LINK_IS_GONE = (
    "This sign-in link has been used, or is too old. `tunery dashboard` makes a new one, or paste an API key."
)


@dataclass(frozen=True)
class NewSignIn:
    """`token` is the only place where it stands in clear."""

    token: str
    expires_at: datetime


def create_link(session: Session, key_id: str) -> NewSignIn:
    """Whoever follows it first acts for the key."""
    return _create(session, key_id, "link", LINK_PREFIX, LINK_LIFETIME)


def follow_link(session: Session, token: str) -> ApiKey:
    """The live key that it was made with. Raises NotAuthenticated, also for whoever comes second."""
    followed = delete(SignIn).where(
        SignIn.sha256 == _sha256(token), SignIn.kind == "link", SignIn.expires_at > func.now()
    )
    key_id = session.scalar(followed.returning(SignIn.key_id))
    if key_id is None:
        raise NotAuthenticated(LINK_IS_GONE)
    key, expired = session.execute(select(ApiKey, HAS_EXPIRED).where(ApiKey.id == key_id)).one()
    require_live(key, expired)
    return key


def begin_session(session: Session, key: ApiKey) -> NewSignIn:
    """A browser's; whatever is over is forgotten meanwhile."""
    session.execute(delete(SignIn).where(SignIn.expires_at <= func.now()))
    return _create(session, key.id, "session", SESSION_PREFIX, SESSION_LIFETIME)


def authenticate(session: Session, token: str) -> ApiKey:
    """The live key that the session acts for, with its project. Raises NotAuthenticated."""
    query = select(SignIn, HAS_EXPIRED).join(SignIn.key)
    in_time = SignIn.kind == "session", SignIn.expires_at > func.now()
    found = session.execute(query.where(SignIn.sha256 == _sha256(token), *in_time)).one_or_none()
    if found is None:
        raise NotAuthenticated("Your session is over. Sign in again.", code="session_ended")
    sign_in, expired = found
    require_live(sign_in.key, expired)
    return sign_in.key


def expiry(session: Session, token: str) -> datetime | None:
    return session.scalar(select(SignIn.expires_at).where(SignIn.sha256 == _sha256(token)))


def end_session(session: Session, token: str) -> None:
    session.execute(delete(SignIn).where(SignIn.sha256 == _sha256(token)))


def _create(session: Session, key_id: str, kind: str, prefix: str, lifetime: timedelta) -> NewSignIn:
    token = prefix + secrets.token_hex(24)
    made = SignIn(sha256=_sha256(token), kind=kind, key_id=key_id, expires_at=func.now() + lifetime)
    session.add(made)
    session.flush()
    session.refresh(made)
    return NewSignIn(token, made.expires_at)


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
