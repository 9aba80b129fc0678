"""Adds ended runs to the usage of their days, so that nobody who asks for the usage reads a year of runs."""

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.access.usage import count_ended_runs

log = structlog.get_logger()


def count_usage(sessions: sessionmaker[Session]) -> None:
    """Count all ended runs, each batch in a transaction of its own. After an error, the next call goes on."""
    try:
        found = True
        while found:
            with sessions.begin() as session:
                found = count_ended_runs(session)
    except SQLAlchemyError as error:
        log.warning("usage_not_counted", error=str(error))
