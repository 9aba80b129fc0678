"""Engine and sessions: synchronous SQLAlchemy over psycopg, the same on both sides."""

import time
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker

# Seconds. A lost network must not hang a request or a heartbeat: the kernel's default is hours.
CONNECT_TIMEOUT = 5
STATEMENT_TIMEOUT = 30

# Seconds between two statements of a transaction. A process that is frozen in between keeps its locks, and
# that of the claims stops every worker. Half of what a statement may take lets whoever waits for the lock
# get it in time. Of ours, only a file's deletion waits for something else within a transaction, the object
# store, and can be asked for again.
IDLE_IN_TRANSACTION_TIMEOUT = STATEMENT_TIMEOUT // 2


def create_database(url: str, *, pool_size: int = 10, rested: float = 0.0) -> Engine:
    """An engine for `url` (postgresql://…), which tries a pooled connection that has rested before use.

    The server may have been restarted meanwhile. One that was used within `rested` seconds is not tried: for
    many requests a second, the round trips would add up.
    """
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT}s "
            f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT}s -c timezone=UTC",
            "tcp_user_timeout": CONNECT_TIMEOUT * 2000,
        },
    )
    _try_the_rested(engine, rested)
    return engine


def reading_sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions for single reads: a statement is a transaction by itself, so that none is begun and ended.

    Several statements do not see the same state; nothing may be written.
    """
    return session_factory(engine.execution_options(isolation_level="AUTOCOMMIT"))


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions whose objects stay readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


def _try_the_rested(engine: Engine, rested: float) -> None:
    """As `pool_pre_ping` does, which tries every connection each time."""

    @event.listens_for(engine, "checkin")
    def note_the_time(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def try_it(connection: Any, record: Any, _proxy: Any) -> None:
        used_at = record.info.get("used_at")
        if used_at is None or time.monotonic() - used_at < rested:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError() from error
