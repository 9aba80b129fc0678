"""The database engine and its sessions: synchronous SQLAlchemy over psycopg, for API and worker."""

import time
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection, ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker

from core.errors import ConfigurationError
from core.releases import session_name

# Seconds. A lost network must not block a request or a heartbeat for hours, which is the kernel's default.
CONNECT_TIMEOUT = 5
STATEMENT_TIMEOUT = 30

# Seconds between two statements of a transaction. A process that freezes in between keeps its locks, and the
# lock of the claims stops every worker. This is half of STATEMENT_TIMEOUT, so that a process that waits for
# the lock gets it in time. None of our transactions waits for anything but the database.
IDLE_IN_TRANSACTION_TIMEOUT = STATEMENT_TIMEOUT // 2

# What every session has. A session of ours sets it for itself. A pooler hands our transactions to sessions of
# its own, so `tunery migrate` also makes it the default of our role.
SESSION_SETTINGS = {
    "statement_timeout": f"{STATEMENT_TIMEOUT}s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT}s",
    "TimeZone": "UTC",
}


def create_database(url: str, *, pool_size: int = 10, rested: float = 0.0) -> Engine:
    """Return an engine for `url` (postgresql://…) that tests a pooled connection before it is used.

    The URL may be any that libpq takes, also with several hosts. The server may have been restarted since the
    connection was last used. A connection that was used within the last `rested` seconds is not tested: with
    many requests per second, the round trips would add up. Raises ConfigurationError if the URL has another
    form.
    """
    engine = create_engine(
        "postgresql+psycopg://",
        pool_size=pool_size,
        max_overflow=pool_size,
        hide_parameters=True,  # errors are logged, and their statements' values may be secrets
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "tcp_user_timeout": CONNECT_TIMEOUT * 2000,
            **_parameters(url),
            "application_name": session_name(),  # by it, `tunery migrate` knows older releases
        },
    )
    event.listen(engine, "connect", _begin_session)
    _test_rested_connections(engine, rested)
    return engine


def is_pooled(connection: "Connection[Any]", process: int) -> bool:
    """Return whether a pooler is in the way, given the process of the database that has answered.

    Postgres tells each client the process that serves it. A pooler tells its clients a number of its own.
    """
    return connection.info.backend_pid != process


def reading_sessions(engine: Engine) -> sessionmaker[Session]:
    """Return sessions for single reads. Each statement is its own transaction, which saves two round trips.

    Several statements may see different states. Nothing may be written.
    """
    return session_factory(engine.execution_options(isolation_level="AUTOCOMMIT"))


def reading(sessions: sessionmaker[Session]) -> sessionmaker[Session]:
    """Return `reading_sessions` of the engine that these sessions use."""
    return reading_sessions(sessions.kw["bind"])


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


def _parameters(url: str) -> dict[str, Any]:
    try:
        return conninfo_to_dict(url)
    except ProgrammingError as error:
        raise ConfigurationError("TUNERY_DATABASE_URL is not of the form postgresql://…") from error


def _begin_session(driver: "Connection[Any]", _record: object) -> None:
    """Give a new session our settings. Behind a pooler, check that they are the defaults of our role.

    Nothing may rest on a session behind a pooler, since each transaction may get another one: neither
    settings nor prepared statements. Raises ConfigurationError if the defaults are missing.
    """
    driver.autocommit = True
    # PgBouncer gives each of its clients the time zone that this client has set
    driver.execute(f"SET TimeZone TO '{SESSION_SETTINGS['TimeZone']}'")
    shown = ", ".join(f"current_setting('{name}')" for name in SESSION_SETTINGS)
    process, *values = driver.execute(f"SELECT pg_backend_pid(), {shown}").fetchone() or (0,)
    if is_pooled(driver, process):
        driver.prepare_threshold = None
        driver.execute(f"SET application_name TO '{session_name(pooled=True)}'")
        if values != list(SESSION_SETTINGS.values()):
            raise ConfigurationError(
                "TUNERY_DATABASE_URL leads to a pooler, behind which sessions lack the settings of the role "
                f"{driver.info.user}. Set TUNERY_DATABASE_DIRECT_URL to the address of Postgres itself, with "
                "the same role, and run `tunery migrate`. "
                "If that has been done, let the pooler open its sessions anew (PgBouncer: RECONNECT)"
            )
    else:
        each = ", ".join(
            f"set_config('{name}', '{value}', false)" for name, value in SESSION_SETTINGS.items()
        )
        driver.execute(f"SELECT {each}")
    driver.autocommit = False


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
