"""Reads the candidates of jobs, and their training losses."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.tables import Candidate, CandidateMetric

MOST_POINTS = 200  # about so many points of a curve are drawn at most


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

    A point is the mean loss of some neighbouring steps. Its step is the last of these steps.
    """
    loss = CandidateMetric.data["train_loss"].as_float()
    last = func.max(CandidateMetric.step).over()
    tile = func.greatest(1, last // MOST_POINTS)
    points = (
        select(CandidateMetric.number, CandidateMetric.step, loss.label("loss"), tile.label("tile"))
        .where(CandidateMetric.job_id == job_id)
        .subquery()
    )
    query = (
        select(points.c.number, func.max(points.c.step), func.avg(points.c.loss))
        .where(points.c.loss.is_not(None))
        .group_by(points.c.number, points.c.step // points.c.tile)
        .order_by(points.c.number, func.max(points.c.step))
    )
    rows = session.execute(query).all()
    return [
        Curve(number, [(step, float(mean)) for _, step, mean in points])
        for number, points in groupby(rows, key=lambda row: row[0])
    ]
