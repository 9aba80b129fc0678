"""Encrypts the headers of endpoints where a specification is stored, and knows what signs their requests.

An encrypted value opens for the address alone that its endpoint had. Nobody can copy it to another one.
"""

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, SecretStr
from sqlalchemy.orm import Session
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from core.database import database_time
from core.endpoints.asking import Credentials
from core.endpoints.header_values import SEALED
from core.endpoints.schemas import Endpoint
from core.errors import InvalidRequest
from core.secrets.vault import UnreadableSecret, Vault
from core.tables import Secret

SIGNING_SECRET = "GRADER_SIGNING_SECRET"  # noqa: S105 (the name of a project's secret, not its value)

T = TypeVar("T")


def with_sealed_headers(vault: Vault, value: T) -> T:
    """Return an endpoint, or anything that holds endpoints, as it may be stored.

    Raises InvalidRequest if this server has no key to encrypt with.
    """
    return _changed(value, lambda endpoint: _sealed(vault, endpoint))


def _changed(value: Any, change: Callable[[Endpoint], Endpoint]) -> Any:
    """Return the value with each endpoint within it changed. What has none is returned as it is."""
    if isinstance(value, Endpoint):
        return change(value)
    if isinstance(value, list):
        return [_changed(each, change) for each in value]
    if isinstance(value, dict):
        return {name: _changed(each, change) for name, each in value.items()}
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in value.model_fields_set}
        changed = {name: _changed(each, change) for name, each in fields.items()}
        return value.model_copy(update={name: new for name, new in changed.items() if new != fields[name]})
    return value


def _sealed(vault: Vault, endpoint: Endpoint) -> Endpoint:
    headers = {
        name: SecretStr(_seal(vault, endpoint.address, value.get_secret_value()))
        for name, value in (endpoint.headers or {}).items()
    }
    return endpoint.model_copy(update={"headers": headers}) if headers else endpoint


def _seal(vault: Vault, address: str, text: str) -> str:
    if text.startswith(SEALED):
        return text
    return SEALED + vault.seal(json.dumps([address, text]))


def _opened(vault: Vault, endpoint: Endpoint) -> dict[str, str]:
    """Return the headers of an endpoint that was stored, or of one that comes with a request."""
    found = {}
    for name, value in (endpoint.headers or {}).items():
        text = value.get_secret_value()
        if text.startswith(SEALED):
            address, text = json.loads(vault.open(text.removeprefix(SEALED)))
            if address != endpoint.address:
                raise UnreadableSecret(f"The header '{name}' was stored for another address")
        found[name] = text
    return found


def resealed(vault: Vault, stored: Any) -> Any:
    """Return JSON that holds endpoints, with their headers encrypted by the first key.

    Raises UnreadableSecret.
    """
    if isinstance(stored, list):
        return [resealed(vault, each) for each in stored]
    if isinstance(stored, dict):
        return {name: resealed(vault, value) for name, value in stored.items()}
    if isinstance(stored, str) and stored.startswith(SEALED):
        return SEALED + vault.reseal(stored.removeprefix(SEALED))
    return stored


class Signing(NamedTuple):
    """What signs the requests to endpoints for one project, as it was at `read_at`, a `time.monotonic()`."""

    secrets: tuple[str, ...]
    time: datetime
    read_at: float

    @classmethod
    def of(cls, session: Session, vault: Vault, project_id: str) -> "Signing":
        """Return the project's secret, if it has one, and the time of the database.

        Raises UnreadableSecret, and InvalidRequest if the secret has another form than that of webhooks.
        """
        secret = session.get(Secret, (project_id, SIGNING_SECRET))
        secrets = () if secret is None else (_signing_secret(vault.open(secret.sealed)),)
        return cls(secrets, database_time(session), time.monotonic())

    def now(self) -> datetime:
        """Return the time of the database's clock."""
        return self.time + timedelta(seconds=time.monotonic() - self.read_at)

    def credentials(self, vault: Vault, endpoint: Endpoint) -> Credentials:
        """Return what goes with the requests to an endpoint. Raises UnreadableSecret."""
        return Credentials(_opened(vault, endpoint), self.secrets, self.now)


def _signing_secret(value: str) -> str:
    """Return the value of the secret that signs. Raises InvalidRequest if it cannot sign."""
    try:
        Webhook(value.strip())
    except (ValueError, EmptyWebhookSecretError):
        raise InvalidRequest(
            f"The secret {SIGNING_SECRET} cannot sign: it must be `whsec_` and random bytes in base64. "
            "An administrator can store it again.",
            code="secret_malformed",
        ) from None
    return value.strip()
