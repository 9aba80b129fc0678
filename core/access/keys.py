"""API keys of the form `tnr_<id>_<random>_<check>`. A key is shown once and stored as a SHA-256.

`check` is the CRC-32 of the part before it. So a mistyped key is recognised without the database, and secret
scanners can recognise a leaked key.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Text, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from core.access import audit
from core.access.audit import OPERATOR, Actor
from core.errors import NotAuthenticated, NotFound
from core.ids import new_id
from core.roles import Role
from core.tables import ApiKey, Project

HAS_EXPIRED = ApiKey.expires_at <= func.now()
BY_IDS = select(ApiKey, HAS_EXPIRED).where(ApiKey.id == any_(bindparam("ids", type_=ARRAY(Text))))
KEY_FORM = re.compile(r"(tnr_([0-9a-f]{32})_[0-9a-f]{48})_([0-9a-f]{8})")


@dataclass(frozen=True)
class NewKey:
    """A key that was just created. Only `value` holds it in plain text."""

    id: str
    value: str


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
    value = f"{body}_{_check(body)}"
    key = ApiKey(id=key_id, project=project, name=name, role=role, expires_at=expires_at)
    key.created_by = by.key_id
    key.sha256 = sha256_of(value)
    session.add(key)
    session.flush()
    audit.record(session, by.on(project.id), "api_key.created", key_id, {"name": name, "role": role})
    return NewKey(key_id, value)


def id_in(value: str) -> str:
    """Return the id that the value contains. Raises NotAuthenticated if it has not the form of a key."""
    form = KEY_FORM.fullmatch(value)
    if form is None or not hmac.compare_digest(_check(form[1]), form[3]):
        raise NotAuthenticated(
            "Incorrect API key provided: it is incomplete. A Tunery key begins with tnr_; "
            "`tunery keys create` creates one."
        )
    return form[2]


def authenticate(session: Session, value: str) -> ApiKey:
    """Return the valid key of this value, with its project. Raises NotAuthenticated."""
    found = authenticate_all(session, [value])[value]
    if isinstance(found, NotAuthenticated):
        raise found
    return found


def authenticate_all(session: Session, values: Sequence[str]) -> dict[str, ApiKey | NotAuthenticated]:
    """Return the valid key of each value, with its project, or else the error. All take one query together.

    Raises NotAuthenticated if one of them has not the form of a key.
    """
    ids = {value: id_in(value) for value in values}
    rows = session.execute(BY_IDS, {"ids": list(ids.values())}).all()
    found = {key.id: (key, expired) for key, expired in rows}
    return {value: _valid(value, *found.get(key_id, (None, None))) for value, key_id in ids.items()}


def _valid(value: str, key: ApiKey | None, expired: bool | None) -> ApiKey | NotAuthenticated:
    if key is None or not hmac.compare_digest(key.sha256, sha256_of(value)):
        return NotAuthenticated("Incorrect API key provided: this server does not know it.")
    return live(key, expired)


def live(key: ApiKey, expired: bool | None) -> ApiKey | NotAuthenticated:
    """Return the key, or the error if it is revoked or expired."""
    try:
        require_live(key, expired)
    except NotAuthenticated as error:
        return error
    return key


def require_live(key: ApiKey, expired: bool | None) -> None:
    """Raise NotAuthenticated if the key is revoked or expired."""
    if key.revoked_at is not None and key.seat is not None:
        raise NotAuthenticated(
            "An administrator has ended your sign-on. Sign in again.", code="session_ended"
        )
    if key.revoked_at is not None:
        raise NotAuthenticated("This API key has been revoked. `tunery keys create` creates a new one.")
    if expired:
        raise NotAuthenticated("This API key has expired. `tunery keys create` creates a new one.")


def live_ids(session: Session, key_ids: Sequence[str]) -> set[str]:
    """Return the ids of those keys that may still be used. All have been authenticated before."""
    in_time = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())
    query = select(ApiKey.id).where(ApiKey.id.in_(key_ids), ApiKey.revoked_at.is_(None), in_time)
    return set(session.scalars(query))


def revoke_key(session: Session, key_id: str, by: Actor = OPERATOR) -> ApiKey:
    """Revoke a key permanently. Raises NotFound. Revoking it twice changes nothing."""
    key = session.get(ApiKey, key_id, with_for_update={"of": ApiKey})
    if key is None:
        raise NotFound(f"No API key has the id {key_id}; `tunery keys list` shows them.", param="id")
    if key.revoked_at is None:
        key.revoked_at = func.now()
        audit.record(session, by.on(key.project_id), "api_key.deleted", key_id)
    return key


def sha256_of(value: str) -> str:
    """Return the hash under which a key or a sign-in is stored, in hexadecimal."""
    return hashlib.sha256(value.encode()).hexdigest()


def _check(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
