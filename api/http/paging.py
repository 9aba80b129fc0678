"""Keyset paging: a page costs the same wherever it lies, and rows that come or go shift nothing."""

import re
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.errors import InvalidRequest

After = Annotated[str | None, Query(description="The `last_id` of the page before", max_length=128)]


def fetch_page(
    session: Session,
    query: Select[*tuple[Any, ...]],
    key: InstrumentedAttribute[Any],
    *,
    after: Any | None,
    limit: int,
    newest_first: bool = True,
) -> tuple[list[Any], bool]:
    """Up to `limit` rows of `query` beyond the key `after`, and whether more follow."""
    if after is not None:
        query = query.where(key < after if newest_first else key > after)
    query = query.order_by(key.desc() if newest_first else key.asc()).limit(limit + 1)
    rows = list(session.execute(query).all())
    return rows[:limit], len(rows) > limit


def check_cursor(after: str | None, kind: re.Pattern[str]) -> None:
    """Raises InvalidRequest where `after` is no id of this kind.

    It need not be there any more, as a client may delete while it pages, nor belong to the project: it only
    says where the page begins.
    """
    if after is not None and not kind.fullmatch(after):
        raise unknown_cursor(after)


def unknown_cursor(after: str) -> InvalidRequest:
    return InvalidRequest(
        f"'after' is {after!r}, which is nothing of this list. It takes the last id of the page before.",
        code="invalid_cursor",
        param="after",
    )
