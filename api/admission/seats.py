"""Gives people who sign on their seats: in each project for which they have a group, an API key of their own.

Nobody holds the key. Sessions act for it, so roles, quotas and the audit log treat a person like any key. It
expires when the person has to sign on again. A person who has left the groups of a project loses the seat
there, and its key is revoked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.access import audit, keys
from core.access.audit import OPERATOR, Actor
from core.access.projects import find_or_create_project
from core.database import from_now
from core.roles import Role
from core.tables import ApiKey, Project, Seat

MOST_NAME = 128  # characters, as of any key's name


@dataclass(frozen=True)
class Person:
    """A person, as the provider has described them."""

    issuer: str
    subject: str
    name: str
    groups: tuple[str, ...]


def granted(person: Person, mapping: Mapping[str, Mapping[str, Role]]) -> dict[str, Role]:
    """Return the person's highest role in each project, in the order of the operator's mapping."""
    roles: dict[str, Role] = {}
    for group, projects in mapping.items():
        for project, role in projects.items() if group in person.groups else ():
            former = roles.get(project)
            roles[project] = role if former is None or role.includes(former) else former
    return roles


def take_seats(
    session: Session, person: Person, roles: Mapping[str, Role], lifetime: timedelta, request_id: str
) -> dict[str, ApiKey]:
    """Make the person's seats those of `roles`, by the names of projects. Return the key of each seat.

    Projects that do not exist are created.
    """
    name = f"seats:{person.issuer} {person.subject}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    mine = (Seat.issuer == person.issuer, Seat.subject == person.subject)
    seats = {seat.project_id: seat for seat in session.scalars(select(Seat).where(*mine))}
    until = from_now(lifetime.total_seconds())
    taken: dict[str, ApiKey] = {}
    for project_name, role in roles.items():
        project = find_or_create_project(session, project_name)
        seat = seats.pop(project.id, None)
        if seat is None or seat.key.revoked_at is not None:
            seat = _take(session, person, project, seat, request_id)
        _renew(session, seat, person, role, until, request_id)
        taken[project_name] = seat.key
    for seat in seats.values():
        keys.revoke_key(session, seat.key_id, Actor(seat.project_id, seat.key_id, request_id))
        session.delete(seat)
    session.flush()
    return taken


def _take(session: Session, person: Person, project: Project, former: Seat | None, request_id: str) -> Seat:
    """Return a seat with a new key, which may do nothing yet but read. A revoked key never comes back."""
    by = Actor(OPERATOR.project_id, None, request_id)
    new = keys.create_key(session, project, person.name[:MOST_NAME], Role.READ_ONLY, by=by)
    seat = former or Seat(issuer=person.issuer, subject=person.subject, project_id=project.id)
    seat.key = session.get_one(ApiKey, new.id)
    session.add(seat)
    return seat


def _renew(
    session: Session, seat: Seat, person: Person, role: Role, until: datetime, request_id: str
) -> None:
    """Let the seat's key have this role until then."""
    key = seat.key
    if key.role != role:
        actor = Actor(seat.project_id, key.id, request_id)
        audit.record(session, actor, "api_key.updated", key.id, {"role": role, "before": key.role})
    key.name, key.role, key.expires_at = person.name[:MOST_NAME], role, until
    seat.signed_on_at = func.now()


def projects_of(session: Session, key_id: str) -> Iterable[Project] | None:
    """Return the projects in which the holder of this seat has seats, or None if the key is nobody's seat."""
    seat = session.scalars(select(Seat).where(Seat.key_id == key_id)).one_or_none()
    if seat is None:
        return None
    of_person = (Seat.issuer == seat.issuer, Seat.subject == seat.subject, ApiKey.revoked_at.is_(None))
    query = select(Project).join(Seat, Seat.project_id == Project.id).join(ApiKey, ApiKey.id == Seat.key_id)
    return session.scalars(query.where(*of_person).order_by(Project.name)).all()
