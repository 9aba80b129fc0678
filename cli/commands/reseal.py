"""Encrypts all stored secrets again with the first of the keys (`tunery secrets reseal`)."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session

from core.endpoints.header_values import SEALED
from core.secrets.endpoint_headers import resealed
from core.secrets.vault import UnreadableSecret, Vault
from core.tables import Eval, Job, Project, Secret, WebhookEndpoint


@dataclass
class Resealed:
    """The number of rows that were encrypted again, and the names of the rows that no key can decrypt.

    Rows that no key can decrypt stay as they are.
    """

    count: int = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, vault: Vault, row: Any, columns: tuple[str, ...], name: str) -> None:
        """Encrypt all of `columns` again, or none of them if one cannot be decrypted.

        A column holds an encrypted text, or JSON with endpoints. `name` describes the row for people.
        """
        stored = {column: value for column in columns if (value := getattr(row, column)) is not None}
        try:
            sealed = {
                column: vault.reseal(value) if isinstance(value, str) else resealed(vault, value)
                for column, value in stored.items()
            }
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
    _reseal_endpoints(session, vault, done)
    return done


def _reseal_endpoints(session: Session, vault: Vault, done: Resealed) -> None:
    """Encrypt the headers of graders and tools again: those of evals, and those of jobs."""
    evals = select(Eval).where(cast(Eval.criteria, Text).contains(SEALED))
    for row in session.scalars(evals.with_for_update()):
        done.add(vault, row, ("criteria",), f"endpoints of eval {row.id}")
    jobs = select(Job).where(cast(Job.spec, Text).contains(SEALED))
    for job in session.scalars(jobs.with_for_update()):
        done.add(vault, job, ("spec",), f"endpoints of job {job.id}")
