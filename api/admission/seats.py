"""Gives people who sign on their seats: in each project for which they have a group, an API key of their own.

Nobody holds the key. Sessions act for it, so roles, quotas and the audit log treat a person like any key. It
expires when the person has to sign on again. A person who has left the groups of a project loses the seat
there, and its key is revoked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from core.access import audit, keys
from core.access.audit import OPERATOR, Actor
from core.access.projects import find_or_create_project
from core.database import from_now
from core.roles import Role
from core.tables import ApiKey, Project, Seat, SignIn

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
) -> dict[str, Seat]:
    """Make the person's seats those of `roles`. Return them by projects' names, in the order of `roles`.

    Projects that do not exist are created.
    """
    name = f"seats:{person.issuer} {person.subject}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    mine = (Seat.issuer == person.issuer, Seat.subject == person.subject)
    seats = {seat.project_id: seat for seat in session.scalars(select(Seat).where(*mine))}
    until = from_now(lifetime.total_seconds())
    by = Actor(OPERATOR.project_id, None, request_id)  # the operator's mapping decides, not the person
    taken: dict[str, Seat] = {}
    for project_name in sorted(roles):  # so that two people who create projects never wait for each other
        role, project = roles[project_name], find_or_create_project(session, project_name)
        seat = seats.pop(project.id, None)
        if seat is None or seat.key.revoked_at is not None:
            seat = _give(session, person, project, seat, role, until, by)
        else:
            _renew(session, seat, person, role, until, by)
        taken[project_name] = seat
    for seat in seats.values():
        keys.revoke_key(session, seat.key_id, by)
        session.delete(seat)
    session.flush()
    return {project_name: taken[project_name] for project_name in roles}


def choose(seats: Mapping[str, Seat], project: str | None) -> Seat | None:
    """Return the seat in this project. Without a project, return the one that the person chose last."""
    if project is not None or not seats:
        chosen = seats.get(project or "")
    else:
        never = datetime.min.replace(tzinfo=UTC)
        chosen = max(seats.values(), key=lambda seat: seat.chosen_at or never)  # the first one of equals
    if chosen is not None:
        chosen.chosen_at = datetime.now(UTC)
    return chosen


def _give(
    session: Session,
    person: Person,
    project: Project,
    former: Seat | None,
    role: Role,
    until: datetime,
    by: Actor,
) -> Seat:
    """Return a seat with a new key. A revoked key never comes back."""
    new = keys.create_key(session, project, person.name[:MOST_NAME], role, until, by)
    seat = former or Seat(issuer=person.issuer, subject=person.subject, project_id=project.id)
    seat.key = session.get_one(ApiKey, new.id)
    session.add(seat)
    return seat


def _renew(session: Session, seat: Seat, person: Person, role: Role, until: datetime, by: Actor) -> None:
    """Let the seat's key have this role until then."""
    key, name, changed = seat.key, person.name[:MOST_NAME], dict[str, str]()
    if key.role != role:
        changed |= {"role": role, "before": key.role}
    if key.name != name:
        changed |= {"name": name, "name_before": key.name}
    if changed:
        audit.record(session, by.on(seat.project_id), "api_key.updated", key.id, changed)
    key.name, key.role, key.expires_at = name, role, until


def is_seat(session: Session, key_id: str | None) -> bool:
    """Return whether a person who has signed on acts by this key."""
    return _of_person(session, key_id) is not None


def end_sessions_of(session: Session, key_id: str) -> None:
    """End all sessions of the person who has this seat, in all of their projects."""
    mine = _of_person(session, key_id)
    if mine is not None:
        of_person = select(Seat.key_id).where(*mine)
        session.execute(delete(SignIn).where(SignIn.key_id.in_(of_person)))


def _of_person(session: Session, key_id: str | None) -> tuple[ColumnElement[bool], ...] | None:
    """Return which seats are those of the holder of this one, or None if the key is nobody's seat."""
    seat = session.scalars(select(Seat).where(Seat.key_id == key_id)).one_or_none()
    return None if seat is None else (Seat.issuer == seat.issuer, Seat.subject == seat.subject)


def projects_of(session: Session, key_id: str) -> Iterable[Project] | None:
    """Return the projects in which the holder of this seat has seats, or None if the key is nobody's seat."""
    mine = _of_person(session, key_id)
    if mine is None:
        return None
    query = select(Project).join(Seat, Seat.project_id == Project.id).join(ApiKey, ApiKey.id == Seat.key_id)
    return session.scalars(query.where(*mine, ApiKey.revoked_at.is_(None)).order_by(Project.name)).all()
