"""Everything that is stored under lock, sealed anew under the first key."""

from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.secrets.vault import Unreadable, Vault
from core.tables import Project, Secret, WebhookEndpoint


@dataclass
class Resealed:
    """How many were sealed anew, and the names of those that no key opens: they stay as they are."""

    count: int = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, vault: Vault, row: Secret | WebhookEndpoint, columns: tuple[str, ...], name: str) -> None:
        """All of the row's columns, or none."""
        stored = {column: value for column in columns if (value := getattr(row, column)) is not None}
        try:
            sealed = {column: vault.reseal(value) for column, value in stored.items()}
        except Unreadable:
            self.unreadable.append(name)
            return
        for column, value in sealed.items():
            setattr(row, column, value)
        self.count += 1


def reseal_all(session: Session, vault: Vault) -> Resealed:
    """After this, keys but the first are not needed any more, unless for what is unreadable."""
    done = Resealed()
    secrets = select(Secret, Project.name).join(Project, Project.id == Secret.project_id)
    for secret, project in session.execute(secrets.with_for_update(of=Secret)):
        done.add(vault, secret, ("sealed",), f"secret {secret.name} of project {project}")
    endpoints = select(WebhookEndpoint, Project.name).join(Project, Project.id == WebhookEndpoint.project_id)
    for endpoint, project in session.execute(endpoints.with_for_update(of=WebhookEndpoint)):
        name = f"webhook endpoint {endpoint.id} of project {project}"
        done.add(vault, endpoint, ("sealed_secret", "former_sealed_secret"), name)
    return done
