"""Reads the losses of a job's rows, in one of several orders."""

from typing import Any, Literal, get_args

from sqlalchemy import SQLColumnExpression, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from core.tables import RowLoss

Order = Literal["hardest", "most_changed", "most_forgotten", "likely_mislabelled"]
Part = Literal["training", "validation"]

CHANGE = RowLoss.after - RowLoss.before
KEYS: dict[Order, SQLColumnExpression[Any]] = {
    "hardest": func.coalesce(RowLoss.after, RowLoss.before),
    "most_changed": func.abs(CHANGE),
    "most_forgotten": CHANGE,
    "likely_mislabelled": RowLoss.suspicion,
}
assert tuple(KEYS) == get_args(Order)


def page(
    session: Session,
    job_id: str,
    order: Order,
    part: Part | None,
    *,
    after: tuple[Part, int] | None,
    limit: int,
) -> tuple[list[RowLoss], bool]:
    """Return up to `limit` rows of a job beyond the row `after`, and whether more follow.

    Rows without the loss that the order needs are left out.
    """
    key, position = KEYS[order], tuple_(RowLoss.part, RowLoss.line)
    query = select(RowLoss).where(RowLoss.job_id == job_id, key.is_not(None))
    if part is not None:
        query = query.where(RowLoss.part == part)
    if after is not None:
        last = select(key).where(RowLoss.job_id == job_id, position == tuple_(*after)).scalar_subquery()
        query = query.where(or_(key < last, and_(key == last, position > tuple_(*after))))
    query = query.order_by(key.desc(), RowLoss.part, RowLoss.line).limit(limit + 1)
    rows = list(session.scalars(query))
    return rows[:limit], len(rows) > limit
