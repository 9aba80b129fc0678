"""Keyset paging: every page costs the same, and the pages stay in place while rows come and go."""

import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Annotated, Any, TypeVar

from fastapi import Query
from sqlalchemy import ColumnElement, Select, String, cast, func
from sqlalchemy.orm import InstrumentedAttribute, Session

from api.schemas import Item, Page
from core.errors import InvalidRequest

Key = TypeVar("Key")

PAGE_BYTES = 4 * 1024**2  # of rows whose size clients decide

LIMIT = "The most items that a page has"
Limit = Annotated[int, Query(ge=0, le=100, description=LIMIT)]
LongLimit = Annotated[int, Query(ge=0, le=1000, description=LIMIT)]  # for lists of small items
After = Annotated[str | None, Query(description="The `last_id` of the page before this one", max_length=128)]


def fetch_page(
    session: Session,
    query: Select[*tuple[Any, ...]],
    key: InstrumentedAttribute[Any],
    *,
    after: Any | None,
    limit: int,
    newest_first: bool = True,
    size: ColumnElement[int] | InstrumentedAttribute[int] | None = None,
) -> tuple[list[Any], bool]:
    """Return up to `limit` rows of `query` beyond the key `after`, and whether more follow.

    `size` is the number of bytes of a row, for rows whose size clients decide. Then the page ends before it
    has more than PAGE_BYTES, but not before its first row.
    """
    if after is not None:
        query = query.where(key < after if newest_first else key > after)
    query = query.order_by(key.desc() if newest_first else key.asc())
    if size is None:
        rows = list(session.execute(query.limit(limit + 1)).all())
        return rows[:limit], len(rows) > limit
    sizes = query.with_only_columns(key, size, maintain_column_froms=True).limit(limit + 1)
    found = [(row[0], row[1]) for row in session.execute(sizes)]
    kept = within_page(found[:limit])
    return list(session.execute(query.where(key.in_(kept))).all()), len(kept) < len(found)


def shown_page(
    session: Session,
    query: Select[*tuple[Any, ...]],
    key: InstrumentedAttribute[Any],
    show: Callable[..., Item],
    *,
    ids: re.Pattern[str],
    after: str | None,
    limit: int,
    newest_first: bool = True,
) -> Page[Item]:
    """Return a page of `query` as a client reads it. `show` gets the columns of a row.

    `ids` matches the ids of the list. Raises InvalidRequest if `after` is none of them.
    """
    check_cursor(after, ids)
    row_key = None if after is None else key.type.python_type(after)
    rows, has_more = fetch_page(session, query, key, after=row_key, limit=limit, newest_first=newest_first)
    return Page.of([show(*row) for row in rows], has_more)


def bytes_of(*columns: InstrumentedAttribute[Any]) -> ColumnElement[int]:
    """Return the size of JSON columns as text, which a row of a page has in the answer, more or less."""
    sizes = [func.coalesce(func.octet_length(cast(column, String)), 0) for column in columns]
    return sum(sizes[1:], sizes[0])


def within_page(rows: Sequence[tuple[Key, int]]) -> list[Key]:
    """Return the keys of the first rows, of which the page has room. `rows` has keys and sizes in bytes.

    The page ends before it has more than PAGE_BYTES, but not before its first row.
    """
    totals = accumulate(size for _, size in rows)
    return [key for (key, size), total in zip(rows, totals, strict=True) if total - size < PAGE_BYTES]


def check_cursor(after: str | None, kind: re.Pattern[str]) -> None:
    """Raise InvalidRequest if `after` is not an id of this kind.

    The item need not exist any more, as a client may delete items while it reads the pages. It need not
    belong to the project either: it only says where the page begins.
    """
    if after is not None and not kind.fullmatch(after):
        raise unknown_cursor(after)


def unknown_cursor(after: str) -> InvalidRequest:
    """Return the error for an `after` that belongs to no item of the list."""
    return InvalidRequest(
        f"'after' is {after!r}, which is not an id of this list. Send the 'last_id' of the page before.",
        code="invalid_cursor",
        param="after",
    )
