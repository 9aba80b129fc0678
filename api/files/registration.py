"""Registers what a request has written, and gives it up if its row is not there in the end."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from anyio import CapacityLimiter, to_thread
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.admission.callers import Caller
from api.files import service
from api.files.intake import ReceivedFile
from api.files.schemas import FileObject
from api.http.idempotency import created, found_by
from core import artifacts
from core.access import audit
from core.access.idempotency import Attempt
from core.access.quotas import check_store
from core.tables import Artifact

Registered = Callable[[str], None]

log = structlog.get_logger()


@asynccontextmanager
async def kept_if_registered(
    sessions: sessionmaker[Session], prefix: str, row_id: str, threads: CapacityLimiter
) -> AsyncIterator[Registered]:
    """Yield a function. Call it after the commit, with the id that the answer shows.

    If that is not `row_id`, or if nothing is committed, the opened artifact at `prefix` is given up.
    """
    registered: list[str] = []
    try:
        yield registered.append
    finally:
        if row_id not in registered:
            await to_thread.run_sync(_give_up, sessions, prefix, limiter=threads)


def register_file(
    sessions: sessionmaker[Session],
    caller: Caller,
    attempt: Attempt,
    asked: BaseModel | str,
    received: ReceivedFile,
    details: dict[str, Any] | None = None,
) -> FileObject:
    """Register a file in a transaction of its own: no session was open while its bytes arrived.

    `asked` is the content of the request, and `details` go to the audit log.
    """
    with sessions.begin() as session:

        def register() -> FileObject:
            file = service.register(session, caller.project_id, received)
            check_store(session, caller.project_id, caller.quotas.stored_bytes)
            audit.record(session, caller, "file.created", file.id, details)
            return FileObject.of(file)

        is_there = found_by(service.get, caller.project_id)
        return created(session, attempt, FileObject, asked, register, is_there)


def _give_up(sessions: sessionmaker[Session], prefix: str) -> None:
    """Doom the artifact, unless it is kept: a commit may succeed even if its answer is lost.

    If the database does not answer, the artifact ends by itself.
    """
    try:
        with sessions.begin() as session:
            artifacts.doom(session, Artifact.prefix == prefix, artifacts.WRITING)
    except SQLAlchemyError as error:
        log.warning("artifact_not_given_up", prefix=prefix, error=str(error))
