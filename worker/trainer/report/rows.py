"""Rows of the reports of many jobs, inserted by one call: a call for each row costs more than the row."""

from typing import Any

from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.orm import Session


class Rows:
    """The rows that a transaction is to insert. Those of one statement keep their order.

    Two of them may have the same key, as the metrics of a step that is evaluated later. So the driver sends a
    statement for each row: one statement that updates on conflict may not meet a row twice.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._rows: dict[Insert, list[dict[str, Any]]] = {}

    def add(self, statement: Insert, row: dict[str, Any]) -> None:
        """Insert the row by this statement at the next `flush`."""
        self._rows.setdefault(statement, []).append(row)

    def flush(self) -> Session:
        """Insert the rows. Return the session, for what must follow them."""
        for statement, rows in self._rows.items():
            self._session.execute(statement, rows)
        self._rows.clear()
        return self._session
