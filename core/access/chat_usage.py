"""The tokens that projects used in chats and completions, by model and by day in UTC."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.tables import ChatUsage

KEY = ("project_id", "day", "model")
COUNTS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")


class Tokens(NamedTuple):
    """What one answer used, or the sum of several answers."""

    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class ModelUsage(NamedTuple):
    """What a project asked of one model on one day."""

    day: date
    project_id: str
    model: str
    tokens: Tokens


def add_up(used: Iterable[ModelUsage]) -> list[ModelUsage]:
    """Return the sums by day, project and model, in the order in which rows must be locked."""
    sums: dict[tuple[date, str, str], Tokens] = {}
    for day, project_id, model, tokens in used:
        before = sums.get((day, project_id, model), Tokens(0, 0, 0, 0))
        sums[day, project_id, model] = Tokens(*(old + new for old, new in zip(before, tokens, strict=True)))
    return [ModelUsage(*key, tokens) for key, tokens in sorted(sums.items())]


def record(session: Session, used: Iterable[ModelUsage]) -> None:
    """Add to the rows of these days and models, in one statement."""
    rows = [
        {"day": each.day, "project_id": each.project_id, "model": each.model, **each.tokens._asdict()}
        for each in add_up(used)
    ]
    statement = insert(ChatUsage).values(rows)
    sums = {name: getattr(ChatUsage, name) + statement.excluded[name] for name in COUNTS}
    session.execute(statement.on_conflict_do_update(index_elements=KEY, set_=sums))


def today() -> date:
    return datetime.now(UTC).date()


def chat_usage(session: Session, project_id: str | None, start: date, last: date) -> list[ModelUsage]:
    """Return the usage on the days from `start` to `last`, of all projects if `project_id` is None."""
    counts = [getattr(ChatUsage, name) for name in COUNTS]
    query = select(ChatUsage.day, ChatUsage.project_id, ChatUsage.model, *counts)
    query = query.where(ChatUsage.day.between(start, last))
    if project_id is not None:
        query = query.where(ChatUsage.project_id == project_id)
    rows = session.execute(query.order_by(ChatUsage.day, ChatUsage.project_id, ChatUsage.model))
    return [ModelUsage(day, project, model, Tokens(*tokens)) for day, project, model, *tokens in rows]
