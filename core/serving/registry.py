"""Which servers there are. Each server writes its row every BEAT_SECONDS; an expired row is ignored."""

from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.tables import Server

BEAT_SECONDS = 2.0
LASTS = timedelta(seconds=3.5 * BEAT_SECONDS)  # three reports may be lost


def report(session: Session, known: dict[str, Any], changing: dict[str, Any]) -> None:
    """Write a server's row. `known` never changes and has its id; `changing` replaces the last report."""
    changing = {**changing, "seen_at": func.now(), "expires_at": func.now() + LASTS}
    statement = insert(Server).values({**known, **changing})
    session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changing))


def leave(session: Session, server_id: str) -> None:
    session.execute(delete(Server).where(Server.id == server_id))


def remove_gone(session: Session) -> None:
    """Delete the rows that have expired."""
    session.execute(delete(Server).where(Server.expires_at < func.now()))


def reporting_servers(session: Session) -> set[str]:
    """Return the ids of the servers whose last report has not expired, also of those that stop."""
    return set(session.scalars(select(Server.id).where(Server.expires_at > func.now())))


def live_servers(session: Session, base: str) -> list[Server]:
    """Return the servers that take requests for this base model, those with fewer answers to write first."""
    query = select(Server).where(
        Server.expires_at > func.now(), ~Server.draining, Server.bases.contains([base])
    )
    return list(session.scalars(query.order_by(Server.running + Server.waiting, Server.id)))
