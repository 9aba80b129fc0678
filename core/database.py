"""The database engine and its sessions: synchronous SQLAlchemy over psycopg, for API and worker."""

import time
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker

# Seconds. A lost network must not block a request or a heartbeat for hours, which is the kernel's default.
CONNECT_TIMEOUT = 5
STATEMENT_TIMEOUT = 30

# Seconds between two statements of a transaction. A process that freezes in between keeps its locks, and the
# lock of the claims stops every worker. This is half of STATEMENT_TIMEOUT, so that a process that waits for
# the lock gets it in time. None of our transactions waits for anything but the database.
IDLE_IN_TRANSACTION_TIMEOUT = STATEMENT_TIMEOUT // 2


def create_database(url: str, *, pool_size: int = 10, rested: float = 0.0) -> Engine:
    """Return an engine for `url` (postgresql://…) that tests a pooled connection before it is used.

    The server may have been restarted since the connection was last used. A connection that was used within
    the last `rested` seconds is not tested: with many requests per second, the round trips would add up.
    """
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        hide_parameters=True,  # errors are logged, and their statements' values may be secrets
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT}s "
            f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT}s -c timezone=UTC",
            "tcp_user_timeout": CONNECT_TIMEOUT * 2000,
        },
    )
    _test_rested_connections(engine, rested)
    return engine


def reading_sessions(engine: Engine) -> sessionmaker[Session]:
    """Return sessions for single reads. Each statement is its own transaction, which saves two round trips.

    Several statements may see different states. Nothing may be written.
    """
    return session_factory(engine.execution_options(isolation_level="AUTOCOMMIT"))


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Return sessions whose objects can still be read after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


def limit_waits(session: Session, *, lock_seconds: float, statement_seconds: float) -> None:
    """Let no statement of the transaction wait longer for a lock, or take longer, than these seconds."""
    limits = {"lock_timeout": lock_seconds, "statement_timeout": statement_seconds}
    session.execute(
        select(*(func.set_config(name, f"{1000 * limit:.0f}", True) for name, limit in limits.items()))
    )


def from_now(seconds: float) -> Any:
    """Return an SQL expression: the database's time, `seconds` from now."""
    return func.now() + timedelta(seconds=seconds)


def database_time(session: Session) -> datetime:
    """Return the database's time, which counts wherever processes of several machines must agree."""
    return session.scalars(select(func.now())).one()


def _test_rested_connections(engine: Engine, rested: float) -> None:
    """Test connections like `pool_pre_ping`, but only those that were not used for `rested` seconds."""

    @event.listens_for(engine, "checkin")
    def note_the_time(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def check_connection(connection: Any, record: Any, _proxy: Any) -> None:
        used_at = record.info.get("used_at")
        if used_at is None or time.monotonic() - used_at < rested:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError() from error
