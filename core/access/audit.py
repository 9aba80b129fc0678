"""The audit log: who did what. An entry is written in the same transaction as its action."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from core.ids import new_id
from core.tables import AuditLog


@dataclass(frozen=True)
class Actor:
    """Who acts on something of a project: an API key in a request, or the operator if there is no key."""

    project_id: str
    key_id: str | None = None
    request_id: str | None = None

    def on(self, project_id: str) -> "Actor":
        """Return the same actor for an entry in the log of another project."""
        return Actor(project_id, self.key_id, self.request_id)


OPERATOR = Actor(project_id="")


def record(
    session: Session, actor: Actor, action: str, resource_id: str, details: dict[str, Any] | None = None
) -> None:
    """Append to the log of the actor's project. `action` has the form `job.cancelled`: a thing and an act."""
    entry = AuditLog(
        id=new_id("audit_log-"),
        project_id=actor.project_id,
        key_id=actor.key_id,
        action=action,
        resource_id=resource_id,
        details=details,
        request_id=actor.request_id,
    )
    session.add(entry)
