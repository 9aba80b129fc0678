"""Adds ended claims to the usage of their days, so that nobody who asks for it reads a year of claims."""

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.access.usage import count_ended_claims

log = structlog.get_logger()


def count_usage(sessions: sessionmaker[Session]) -> None:
    """Count all ended claims, each batch in its own transaction. After an error, the next call goes on."""
    try:
        found = True
        while found:
            with sessions.begin() as session:
                found = count_ended_claims(session)
    except SQLAlchemyError as error:
        log.warning("usage_not_counted", error=str(error))
