"""Gives up what a request has written for a row, if the row is not there in the end."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core import artifacts
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


def _give_up(sessions: sessionmaker[Session], prefix: str) -> None:
    """Doom the artifact, unless it is kept: a commit may succeed even if its answer is lost.

    If the database does not answer, the artifact ends by itself.
    """
    try:
        with sessions.begin() as session:
            artifacts.doom(session, Artifact.prefix == prefix, artifacts.WRITING)
    except SQLAlchemyError as error:
        log.warning("artifact_not_given_up", prefix=prefix, error=str(error))
