"""API keys of the form `tnr_<id>_<random>_<check>`. A key is shown once and stored as a SHA-256.

`check` is the CRC-32 of the part before it. So a mistyped key is recognised without the database, and secret
scanners can recognise a leaked key.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from core.access import audit
from core.access.audit import OPERATOR, Actor
from core.errors import NotAuthenticated, NotFound
from core.ids import new_id
from core.roles import Role
from core.tables import ApiKey, Project

HAS_EXPIRED = ApiKey.expires_at <= func.now()
KEY_FORM = re.compile(r"(tnr_([0-9a-f]{32})_[0-9a-f]{48})_([0-9a-f]{8})")


@dataclass(frozen=True)
class NewKey:
    """A key that was just created. Only `token` holds its secret in plain text."""

    id: str
    token: str


def create_key(
    session: Session,
    project: Project,
    name: str,
    role: Role = Role.MEMBER,
    expires_at: datetime | None = None,
    by: Actor = OPERATOR,
) -> NewKey:
    """Create an API key of the project."""
    key_id = new_id("")
    body = f"tnr_{key_id}_{secrets.token_hex(24)}"
    token = f"{body}_{_check(body)}"
    key = ApiKey(id=key_id, project=project, name=name, role=role, expires_at=expires_at)
    key.sha256 = sha256_of(token)
    session.add(key)
    session.flush()
    audit.record(session, by.on(project.id), "api_key.created", key_id, {"name": name, "role": role})
    return NewKey(key_id, token)


def id_in(token: str) -> str:
    """Return the id that the token contains. Raises NotAuthenticated if it has not the form of a key."""
    form = KEY_FORM.fullmatch(token)
    if form is None or not hmac.compare_digest(_check(form[1]), form[3]):
        raise NotAuthenticated(
            "Incorrect API key provided: it is incomplete. A Tunery key begins with tnr_; "
            "`tunery keys create` creates one."
        )
    return form[2]


def authenticate(session: Session, token: str) -> ApiKey:
    """Return the valid key of this token, with its project. Raises NotAuthenticated."""
    query = select(ApiKey, HAS_EXPIRED).where(ApiKey.id == id_in(token))
    key, expired = session.execute(query).one_or_none() or (None, None)
    if key is None or not hmac.compare_digest(key.sha256, sha256_of(token)):
        raise NotAuthenticated("Incorrect API key provided: this server does not know it.")
    require_live(key, expired)
    return key


def require_live(key: ApiKey, expired: bool | None) -> None:
    """Raise NotAuthenticated if the key is revoked or expired."""
    if key.revoked_at is not None:
        raise NotAuthenticated("This API key has been revoked. `tunery keys create` creates a new one.")
    if expired:
        raise NotAuthenticated("This API key has expired. `tunery keys create` creates a new one.")


def is_live(session: Session, key_id: str | None) -> bool:
    """Whether a key that was authenticated before may still be used."""
    in_time = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())
    query = select(ApiKey.id).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None), in_time)
    return session.scalar(query) is not None


def revoke_key(session: Session, key_id: str, by: Actor = OPERATOR) -> ApiKey:
    """Revoke a key permanently. Raises NotFound. Revoking it twice changes nothing."""
    key = session.get(ApiKey, key_id, with_for_update={"of": ApiKey})
    if key is None:
        raise NotFound(f"No API key has the id {key_id}; `tunery keys list` shows them.", param="id")
    if key.revoked_at is None:
        key.revoked_at = func.now()
        audit.record(session, by.on(key.project_id), "api_key.deleted", key_id)
    return key


def sha256_of(token: str) -> str:
    """Return the hash under which a key or a sign-in is stored, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def _check(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
