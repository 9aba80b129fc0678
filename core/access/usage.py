"""The use of projects, day by day in UTC: device seconds and trained tokens.

Device seconds are the time for which a job's claims held their devices, times the number of devices. Jobs
that train together share a device, and the whole time counts for each of them. So the sum may exceed the time
for which the devices ran. Tokens count on the day on which their job succeeded.

The janitor adds ended claims to the days of `UsageDay` (`count_ended_claims`). The use is the sum of these
days and of the claims that are not counted yet, so it is exact at any moment.
"""

from datetime import date
from typing import NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

BATCH_CLAIMS = 10_000

# The use by some claims. The times of the connection are in UTC (`core/database.py`). A job
# has as many trained tokens as it had at its success, at which its claim ended.
USE_BY_CLAIMS = """
SELECT CAST(day AS date) AS day, project_id,
    CAST(sum(CASE WHEN outcome = 'succeeded' AND held_until < day + interval '1 day'
        THEN trained_tokens ELSE 0 END) AS bigint) AS trained_tokens,
    sum(devices * extract(epoch FROM
        least(held_until, day + interval '1 day') - greatest(started_at, day))) AS device_seconds
FROM (
    SELECT project_id, devices, outcome, runs.started_at, jobs.trained_tokens,
        coalesce(runs.ended_at, least(now(), runs.expires_at)) AS held_until
    FROM {runs} AS runs JOIN jobs ON jobs.id = runs.job_id
) AS held
CROSS JOIN LATERAL generate_series(date_trunc('day', started_at), held_until, interval '1 day') AS day
WHERE held_until > day OR outcome = 'succeeded'
GROUP BY CAST(day AS date), project_id
"""
NOT_COUNTED = "(SELECT * FROM runs WHERE ended_at IS NULL OR (ended_at IS NOT NULL AND NOT counted))"
COLUMNS = "day, project_id, trained_tokens, device_seconds"


def _query(project: str) -> TextClause:
    """Return the query for the use of the projects that meet a condition."""
    return text(f"""
SELECT day, project_id,
    CAST(sum(trained_tokens) AS bigint) AS trained_tokens,
    CAST(sum(device_seconds) AS float) AS device_seconds
FROM (SELECT {COLUMNS} FROM usage_days UNION ALL {USE_BY_CLAIMS.format(runs=NOT_COUNTED)}) AS used
WHERE day BETWEEN :start AND :last AND {project}
GROUP BY day, project_id ORDER BY day, project_id
""")  # noqa: S608


OF_ONE, OF_ALL = _query("project_id = :project"), _query("true")

# A claim is marked and added in one statement, so it is added exactly once. The days are written in one
# order, so that two janitors never wait for each other.
COUNT = text(f"""
WITH batch AS (
    SELECT job_id, fence FROM runs WHERE ended_at IS NOT NULL AND NOT counted
    LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
),
ended AS (
    UPDATE runs SET counted = true FROM batch
    WHERE runs.job_id = batch.job_id AND runs.fence = batch.fence RETURNING runs.*
),
added AS (
    INSERT INTO usage_days ({COLUMNS})
    SELECT {COLUMNS} FROM ({USE_BY_CLAIMS.format(runs="ended")}) AS used ORDER BY project_id, day
    ON CONFLICT (project_id, day) DO UPDATE SET
        trained_tokens = usage_days.trained_tokens + excluded.trained_tokens,
        device_seconds = usage_days.device_seconds + excluded.device_seconds
)
SELECT count(*) FROM batch
""")  # noqa: S608


class Usage(NamedTuple):
    """The use of one project on one day."""

    day: date
    project_id: str
    trained_tokens: int
    device_seconds: float


def usage(session: Session, project_id: str | None, start: date, last: date) -> list[Usage]:
    """Return the use on the days from `start` to `last`, both included, in UTC.

    A `project_id` of None selects all projects. There is no row for a day on which a project used nothing.
    """
    days = {"start": start, "last": last}
    rows = (
        session.execute(OF_ALL, days)
        if project_id is None
        else session.execute(OF_ONE, {**days, "project": project_id})
    )
    return [Usage(day, *used) for day, *used in rows]


def count_ended_claims(session: Session, most: int = BATCH_CLAIMS) -> bool:
    """Add a batch of `most` ended claims to the days of their projects. Return whether it found any.

    Several processes may call this at the same time.
    """
    return session.scalars(COUNT, {"most": most}).one() > 0
