"""API keys: `tnr_<id>_<random>_<check>`, shown once, kept as a SHA-256.

`check` is a CRC of what stands before it: a mistyped key is told from a revoked one without the database,
and secret scanners can recognise a leaked key.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import NotAuthenticated, NotFound
from core.ids import new_id
from core.models import ApiKey, Project
from core.roles import Role

KEY_FORM = re.compile(r"(tnr_([0-9a-f]{32})_[0-9a-f]{48})_([0-9a-f]{8})")


@dataclass(frozen=True)
class NewKey:
    """A key just made; `token` is the only place where its secret stands in clear."""

    id: str
    token: str


def create_key(
    session: Session,
    project_name: str,
    name: str,
    role: Role = Role.MEMBER,
    expires_at: datetime | None = None,
) -> NewKey:
    """A new key of the project, which is created where it does not exist."""
    project = session.scalars(select(Project).where(Project.name == project_name)).one_or_none()
    if project is None:
        project = Project(id=new_id("proj_"), name=project_name)
        session.add(project)
        session.flush()
    key_id = new_id("")
    body = f"tnr_{key_id}_{secrets.token_hex(24)}"
    token = f"{body}_{_check(body)}"
    key = ApiKey(id=key_id, project_id=project.id, name=name, role=role, sha256=_sha256(token))
    key.expires_at = expires_at
    session.add(key)
    session.flush()
    return NewKey(key_id, token)


def authenticate(session: Session, token: str) -> ApiKey:
    """The live key that `token` belongs to. Raises NotAuthenticated."""
    form = KEY_FORM.fullmatch(token)
    if form is None or not hmac.compare_digest(_check(form[1]), form[3]):
        raise NotAuthenticated(
            "Incorrect API key provided: it is not complete. A Tunery key looks like tnr_…; "
            "`tunery keys create` makes one."
        )
    query = select(ApiKey, ApiKey.expires_at <= func.now()).where(ApiKey.id == form[2])
    key, expired = session.execute(query).one_or_none() or (None, None)
    if key is None or not hmac.compare_digest(key.sha256, _sha256(token)):
        raise NotAuthenticated("Incorrect API key provided: this server does not know it.")
    if key.revoked_at is not None:
        raise NotAuthenticated("This API key has been revoked. `tunery keys create` makes a new one.")
    if expired:
        raise NotAuthenticated("This API key has expired. `tunery keys create` makes a new one.")
    return key


def revoke_key(session: Session, key_id: str) -> ApiKey:
    """Revoke a key, for good. Raises NotFound. Revoking twice changes nothing."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFound(f"No API key has the id {key_id}; `tunery keys list` shows them.", param="id")
    if key.revoked_at is None:
        key.revoked_at = func.now()
    return key


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _check(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
