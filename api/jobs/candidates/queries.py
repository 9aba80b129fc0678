"""Reads the candidates of jobs, and their training losses."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Integer, any_, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from core.tables import Candidate, CandidateMetric

MOST_POINTS = 200  # about so many points of a curve are drawn at most
MOST_STEPS = 5  # about so many steps are read for one point


def of_jobs(session: Session, job_ids: Sequence[str]) -> dict[str, list[Candidate]]:
    """Return the candidates of each job. A job without candidates has an empty list."""
    found: dict[str, list[Candidate]] = {job_id: [] for job_id in job_ids}
    for candidate in session.scalars(select(Candidate).where(Candidate.job_id.in_(job_ids))):
        found[candidate.job_id].append(candidate)
    return found


class Curve(NamedTuple):
    """The training losses of one candidate: pairs of step and loss, by step."""

    number: int
    points: list[tuple[int, float]]


def curves(session: Session, job_id: str) -> list[Curve]:
    """Return the curves of all candidates of a job, each with about `MOST_POINTS` points at most.

    A point is the mean loss of neighbouring steps, of which about `MOST_STEPS` are read at most. Its step is
    the last of these.
    """
    number, step = CandidateMetric.number, CandidateMetric.step
    mine = CandidateMetric.job_id == job_id
    last = session.scalar(select(func.max(step)).where(mine)) or 0
    tile = max(1, last // MOST_POINTS)
    read = list(range(last, 0, -max(1, tile // MOST_STEPS)))
    loss = CandidateMetric.data["train_loss"].as_float()
    query = (
        select(number, func.max(step), func.avg(loss))
        .where(mine, step == any_(cast(read, ARRAY(Integer))), loss.is_not(None))
        .group_by(number, step // tile)
        .order_by(number, func.max(step))
    )
    rows = session.execute(query).all()
    return [
        Curve(number, [(step, float(mean)) for _, step, mean in points])
        for number, points in groupby(rows, key=lambda row: row[0])
    ]
