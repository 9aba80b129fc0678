"""Encrypts all stored secrets again with the first of the keys (`tunery secrets reseal`)."""

from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.secrets.vault import UnreadableSecret, Vault
from core.tables import Project, Secret, WebhookEndpoint


@dataclass
class Resealed:
    """The number of rows that were encrypted again, and the names of the rows that no key can decrypt.

    Rows that no key can decrypt stay as they are.
    """

    count: int = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, vault: Vault, row: Secret | WebhookEndpoint, columns: tuple[str, ...], name: str) -> None:
        """Encrypt all of `columns` again, or none of them if one cannot be decrypted.

        `name` describes the row for people.
        """
        stored = {column: value for column in columns if (value := getattr(row, column)) is not None}
        try:
            sealed = {column: vault.reseal(value) for column, value in stored.items()}
        except UnreadableSecret:
            self.unreadable.append(name)
            return
        for column, value in sealed.items():
            setattr(row, column, value)
        self.count += 1


def reseal_all(session: Session, vault: Vault) -> Resealed:
    """Encrypt every stored secret with the first key. Only unreadable rows still need other keys then."""
    done = Resealed()
    secrets = select(Secret, Project.name).join(Project, Project.id == Secret.project_id)
    for secret, project in session.execute(secrets.with_for_update(of=Secret)):
        done.add(vault, secret, ("sealed",), f"secret {secret.name} of project {project}")
    endpoints = select(WebhookEndpoint, Project.name).join(Project, Project.id == WebhookEndpoint.project_id)
    for endpoint, project in session.execute(endpoints.with_for_update(of=WebhookEndpoint)):
        name = f"webhook endpoint {endpoint.id} of project {project}"
        done.add(vault, endpoint, ("sealed_secret", "former_sealed_secret"), name)
    return done
