"""Jobs in a database of their own, for tests that need no API."""

from collections.abc import Iterator

import pytest
from sqlalchemy import select

from core.database import create_database, session_factory
from core.jobs import lifecycle
from core.tables import Job
from tests.fixtures.service.jobs import Jobs


@pytest.fixture(scope="module")
def all_jobs(database_url: str) -> Iterator[Jobs]:
    engine = create_database(database_url)
    yield Jobs(session_factory(engine))
    engine.dispose()


@pytest.fixture
def jobs(all_jobs: Jobs) -> Jobs:
    """Return the jobs of a database in which none waits: a test would claim it first."""
    with all_jobs.sessions.begin() as session:
        for job in session.scalars(select(Job).where(Job.status.in_(["queued", "running", "paused"]))):
            lifecycle.cancel(session, job)
    return all_jobs
