"""Everything that is stored under lock, sealed anew under the first key."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.models import Secret, WebhookEndpoint
from core.vault import Vault


def reseal_all(session: Session, vault: Vault) -> int:
    """After this, keys but the first are not needed any more. Returns how many secrets. Raises Unreadable."""
    stored = session.scalars(select(Secret).with_for_update()).all()
    for secret in stored:
        secret.sealed = vault.reseal(secret.sealed)
    endpoints = session.scalars(select(WebhookEndpoint).with_for_update()).all()
    for endpoint in endpoints:
        endpoint.sealed_secret = vault.reseal(endpoint.sealed_secret)
        if endpoint.former_sealed_secret is not None:
            endpoint.former_sealed_secret = vault.reseal(endpoint.former_sealed_secret)
    return len(stored) + len(endpoints)
