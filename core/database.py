"""Engine and sessions: synchronous SQLAlchemy over psycopg, the same on both sides."""

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker

# Seconds. A lost network must not hang a request or a heartbeat: the kernel's default is hours.
CONNECT_TIMEOUT = 5
STATEMENT_TIMEOUT = 30

# Seconds between two statements of a transaction. A process that is frozen in between keeps its locks, and
# that of the claims stops every worker. Half of what a statement may take lets whoever waits for the lock
# get it in time. Of ours, only a file's deletion waits for something else within a transaction, the object
# store, and can be asked for again.
IDLE_IN_TRANSACTION_TIMEOUT = STATEMENT_TIMEOUT // 2


def create_database(url: str, *, pool_size: int = 10) -> Engine:
    """An engine for `url` (postgresql://…), which checks a pooled connection before use."""
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT}s "
            f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT}s -c timezone=UTC",
            "tcp_user_timeout": CONNECT_TIMEOUT * 2000,
        },
    )


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions whose objects stay readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)
