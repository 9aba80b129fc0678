"""Keeps a process away from tables in which a newer release has taken away what this release uses.

`tunery migrate` waits for processes of older releases. It does not see one that starts later, or that an
operator has not counted.
"""

import time

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from core.errors import ConfigurationError

LOOK_SECONDS = 60.0

log = structlog.get_logger()


def refuse_newer_tables(engine: Engine) -> None:
    """Raise ConfigurationError if this release cannot work on the tables.

    If the database does not answer, the process starts all the same, and finds out later.
    """
    try:
        wrong = too_new(engine)
    except (SQLAlchemyError, ConfigurationError) as error:
        log.warning("tables_not_seen", error=str(error))
        return
    if wrong:
        raise ConfigurationError(f"The tables are {wrong}")


class TablesWatch:
    """Looks at the tables again and again, but not more often than every LOOK_SECONDS."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looks_at = 0.0  # by time.monotonic()
        self._wrong: str | None = None

    def too_new(self) -> str | None:
        """Return what `too_new` returned at the last look. Raises SQLAlchemyError."""
        if time.monotonic() >= self._looks_at:
            self._wrong = too_new(self._engine)
            self._looks_at = time.monotonic() + LOOK_SECONDS
        return self._wrong


def too_new(engine: Engine) -> str | None:
    """Return why this release cannot work on the tables, or None if it can. Raises SQLAlchemyError."""
    # Importing Alembic takes 0.17 s, which a process need not wait for before it needs it
    from core.schema import TOO_NEW, what_is_wrong

    return TOO_NEW if what_is_wrong(engine) == TOO_NEW else None
