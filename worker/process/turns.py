"""Divides among many workers what any one of them can do for all: about ten of them do it in each period."""

import random

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.tables import Worker

AT_A_TIME = 10  # workers; of more workers, so many have a turn in each period, whatever their number


def has_a_turn(session: Session) -> bool:
    """Draw whether this worker has a turn in this period. Up to ten workers always have one.

    No worker needs to know of the others' turns, because one of them finds the same as a thousand.
    """
    return is_drawn(session, random.random())  # noqa: S311


def is_drawn(session: Session, drawn: float) -> bool:
    """Return whether a worker has a turn, by a number from 0 to 1 that it has drawn."""
    workers = session.scalar(select(func.count()).where(Worker.expires_at > func.now())) or 0
    return drawn * workers < AT_A_TIME
