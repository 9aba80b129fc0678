"""The use of projects, day by day in UTC: device seconds and trained tokens.

Device seconds are the time for which a job's runs held their devices, times the number of devices. Jobs that
train together share a device, and the whole time counts for each of them. So the sum may exceed the time for
which the devices ran. Tokens count on the day on which their job succeeded.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

QUERY = text("""
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
        WHERE CAST(:project AS text) IS NULL OR project_id = :project
    ) AS held ON started_at < day + interval '1 day' AND held_until > day
    GROUP BY day, project_id
),
trained AS (
    SELECT day, project_id, sum(trained_tokens) AS trained_tokens
    FROM days JOIN jobs ON finished_at >= day AND finished_at < day + interval '1 day'
    WHERE status = 'succeeded' AND (CAST(:project AS text) IS NULL OR project_id = :project)
    GROUP BY day, project_id
)
SELECT day, project_id, coalesce(trained_tokens, 0), coalesce(device_seconds, 0)
FROM served FULL JOIN trained USING (day, project_id) ORDER BY day, project_id
""")


class Usage(NamedTuple):
    """The use of one project on one day, which begins at `day`."""

    day: datetime
    project_id: str
    trained_tokens: int
    device_seconds: float


def usage(session: Session, project_id: str | None, start: datetime, last: datetime) -> list[Usage]:
    """Return the use on the days from `start` to `last`, both at midnight in UTC.

    A `project_id` of None selects all projects. There is no row for a day on which a project used nothing.
    """
    rows = session.execute(QUERY, {"start": start, "last": last, "project": project_id})
    return [Usage(day, project, int(tokens), float(seconds)) for day, project, tokens, seconds in rows]
