"""Removes what was stored for a row, if the row is not there in the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.files.intake import ReceivedFile
from core.storage.object_store import STORE_ERRORS, ObjectStore
from core.tables import Adapter, File

log = structlog.get_logger()


@contextmanager
def kept_if_registered(
    sessions: sessionmaker[Session], store: ObjectStore, received: ReceivedFile
) -> Iterator[Callable[[str], None]]:
    """Yield a function for the id of the file that the request is answered with, once it is committed.

    If that is not the received file, or nothing is committed, the received bytes are removed.
    """
    registered: list[str] = []
    try:
        yield registered.append
    finally:
        if received.id not in registered:
            forget_unregistered(sessions, File, received.id, lambda: store.delete(received.object_key))


def forget_unregistered(
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
