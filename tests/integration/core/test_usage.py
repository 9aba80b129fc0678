"""The usage by day: the sum of what is counted and what is not is that of all claims, at any moment."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from core.access.usage import count_ended_claims, usage
from core.database import create_database, session_factory
from core.ids import new_id
from core.tables import Base, Claim, File, Job, Project, UsageDay
from tests.fixtures.faults.database import killed_at_commit, losing_the_answer
from worker.supervisor.usage import count_usage

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
LAST = BEGAN + timedelta(days=9)

# The usage from all claims and jobs alone
PLAIN = text("""
WITH days AS (
    SELECT generate_series(CAST(:start AS timestamptz), CAST(:last AS timestamptz), '1 day') AS day
),
served AS (
    SELECT day, project_id, sum(devices * extract(epoch FROM
        least(held_until, day + interval '1 day') - greatest(started_at, day))) AS device_seconds
    FROM days JOIN (
        SELECT project_id, devices, runs.started_at,
            coalesce(runs.ended_at, least(now(), runs.expires_at)) AS held_until
        FROM runs JOIN jobs ON jobs.id = runs.job_id
    ) AS held ON started_at < day + interval '1 day' AND held_until > day
    GROUP BY day, project_id
),
trained AS (
    SELECT day, project_id, sum(trained_tokens) AS trained_tokens
    FROM days JOIN jobs ON finished_at >= day AND finished_at < day + interval '1 day'
    WHERE status = 'succeeded' GROUP BY day, project_id
)
SELECT CAST(day AS date), project_id, coalesce(trained_tokens, 0), CAST(coalesce(device_seconds, 0) AS float)
FROM served FULL JOIN trained USING (day, project_id)
WHERE CAST(:project AS text) IS NULL OR project_id = :project ORDER BY day, project_id
""")


@pytest.fixture(scope="module")
def sessions(database_url: str) -> Iterator[sessionmaker[Session]]:
    engine = create_database(database_url)
    yield session_factory(engine)
    engine.dispose()


@pytest.fixture
def projects(sessions: sessionmaker[Session]) -> list[str]:
    """Make two projects with jobs of many lengths, each with one or two claims."""
    made = [new_id("proj_") for _ in range(2)]
    with sessions.begin() as session:
        for project in made:
            add_project(session, project, random.Random(project))
    return made


def add_project(session: Session, project: str, dice: random.Random) -> None:
    file = File(id=new_id("file-"), project_id=project, filename="f", purpose="fine-tune", bytes=1)
    file.sha256 = file.object_key = ""
    add(session, Project(id=project, name=project))
    add(session, file)
    for number in range(30):
        started = BEGAN + timedelta(seconds=dice.uniform(0, 9 * 86400))
        ended = started + timedelta(seconds=dice.choice([0, 1, 3600, 86400, 200_000]) * dice.random())
        if number == 0:
            started, ended = BEGAN + timedelta(hours=1), BEGAN + timedelta(days=1)  # to midnight, exactly
        succeeded = number % 2 == 0
        job = {"base_model": "base", "training_file_id": file.id, "spec": {}, "devices": dice.choice([1, 4])}
        job |= {"fence": 2, "project_id": project, "finished_at": ended, "trained_tokens": 1000 + number}
        ids = {"id": new_id("ftjob-"), "fine_tuned_model": new_id("ft:") if succeeded else None}
        add(session, Job(**job, **ids, status="succeeded" if succeeded else "cancelled"))
        lost = {"started_at": started - timedelta(hours=30), "ended_at": started, "outcome": "lost"}
        last = {
            "started_at": started,
            "ended_at": ended,
            "outcome": "succeeded" if succeeded else "cancelled",
        }
        for fence, claim in enumerate((lost, last), 1):
            claim |= {"owner": "a test", "nonce": new_id(""), "expires_at": ended}
            add(session, Claim(job_id=ids["id"], fence=fence, **claim))


def add(session: Session, row: Base) -> None:
    session.add(row)
    session.flush()


def used(session: Session, project: str | None) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in usage(session, project, BEGAN.date(), LAST.date())]


def plain(session: Session, project: str | None) -> list[tuple[Any, ...]]:
    found = session.execute(PLAIN, {"start": BEGAN, "last": LAST, "project": project})
    return [tuple(row) for row in found]


def assert_right(sessions: sessionmaker[Session], projects: list[str]) -> None:
    with sessions() as session:
        for project in (*projects, None):
            assert used(session, project) == plain(session, project)


def counted(sessions: sessionmaker[Session]) -> int:
    with sessions() as session:
        return session.scalars(select(func.count()).select_from(Claim).where(Claim.counted)).one()


def test_the_usage_is_that_of_all_claims_before_while_and_after_they_are_counted(
    sessions: sessionmaker[Session], projects: list[str]
) -> None:
    before = counted(sessions)
    assert_right(sessions, projects)
    with sessions.begin() as session:
        assert count_ended_claims(session, most=37)
    assert counted(sessions) == before + 37
    assert_right(sessions, projects)
    count_usage(sessions)
    assert counted(sessions) == before + 120
    assert_right(sessions, projects)
    with sessions.begin() as session:
        assert not count_ended_claims(session)


def test_a_claim_that_is_open_is_in_the_usage_and_counted_once_it_has_ended(
    sessions: sessionmaker[Session], projects: list[str]
) -> None:
    with sessions.begin() as session:
        claim = session.scalars(select(Claim).join(Job).where(Job.project_id == projects[0]).limit(1)).one()
        job, fence, ended_at = claim.job_id, claim.fence, claim.ended_at
        claim.ended_at = claim.outcome = None
    count_usage(sessions)
    with sessions.begin() as session:
        claim = session.get_one(Claim, (job, fence))
        assert not claim.counted
        assert_right(sessions, projects)
        claim.ended_at, claim.outcome = ended_at, "lost"
    count_usage(sessions)
    assert_right(sessions, projects)


def test_janitors_that_count_at_once_count_each_claim_once(
    sessions: sessionmaker[Session], projects: list[str]
) -> None:
    def count_all(_janitor: int) -> None:
        more = True
        while more:
            with sessions.begin() as session:
                more = count_ended_claims(session, most=7)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count_all, range(4)))
    assert_right(sessions, projects)
    with sessions() as session:
        assert session.scalars(select(func.count()).select_from(Claim).where(~Claim.counted)).one() == 0


def test_a_count_that_fails_at_its_commit_or_loses_the_answer_counts_each_claim_once(
    sessions: sessionmaker[Session], projects: list[str]
) -> None:
    engine = sessions.kw["bind"]
    with killed_at_commit(engine) as killed:
        count_usage(sessions)
    assert killed
    assert_right(sessions, projects)
    with (
        losing_the_answer(engine, "\nWITH batch") as lost,
        pytest.raises(OperationalError),
        sessions.begin() as session,
    ):
        count_ended_claims(session)
    assert lost
    count_usage(sessions)
    assert_right(sessions, projects)


def test_what_is_counted_reads_no_claim_again(sessions: sessionmaker[Session], projects: list[str]) -> None:
    count_usage(sessions)
    with sessions.begin() as session:
        days = select(func.count()).select_from(UsageDay).where(UsageDay.project_id == projects[0])
        assert session.scalars(days).one() >= 9
        before = used(session, projects[0])
        session.execute(text("DELETE FROM runs WHERE fence = 1"))
        assert used(session, projects[0]) == before
        session.rollback()
