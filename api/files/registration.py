"""Removes what was stored for a row, if the row is not there in the end."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.files.intake import ReceivedFile
from core.storage.object_store import STORE_ERRORS, ObjectStore
from core.tables import Adapter, File

Registered = Callable[[str], None]

log = structlog.get_logger()


@contextmanager
def kept_if_registered(
    sessions: sessionmaker[Session],
    table: type[File] | type[Adapter],
    row_id: str,
    remove: Callable[[], None],
) -> Iterator[Registered]:
    """Yield a function. Call it after the commit, with the id that the answer shows.

    If that is not `row_id`, or if nothing is committed, `remove` is called to remove the row's bytes.
    """
    registered: list[str] = []
    try:
        yield registered.append
    finally:
        if row_id not in registered:
            _forget_unregistered(sessions, table, row_id, remove)


def file_kept_if_registered(
    sessions: sessionmaker[Session], store: ObjectStore, received: ReceivedFile
) -> AbstractContextManager[Registered]:
    """Return `kept_if_registered` for a file that was received."""
    return kept_if_registered(sessions, File, received.id, lambda: store.delete(received.object_key))


@asynccontextmanager
async def ended_in_thread(
    kept: AbstractContextManager[Registered], threads: CapacityLimiter
) -> AsyncIterator[Registered]:
    """Enter `kept_if_registered` in a coroutine, and leave it in one of `threads`.

    Leaving it may wait for the database and the store. It is not told of an error, and needs to know of none.
    """
    registered = kept.__enter__()
    try:
        yield registered
    finally:
        await to_thread.run_sync(kept.__exit__, None, None, None, limiter=threads)


def _forget_unregistered(
    sessions: sessionmaker[Session],
    table: type[File] | type[Adapter],
    row_id: str,
    remove: Callable[[], None],
) -> None:
    """Call `remove`, unless the row is there.

    The row is looked up first, since a commit may succeed even if its answer is lost. If the database or the
    store does not answer, the bytes stay until the janitor finds them. Bytes without a row only take space,
    but a row without bytes would make a job fail.
    """
    try:
        with sessions() as session:
            registered = session.get(table, row_id) is not None
        if not registered:
            remove()
    except (SQLAlchemyError, *STORE_ERRORS) as error:
        log.warning("unregistered_bytes_stay", row=row_id, error=str(error))
