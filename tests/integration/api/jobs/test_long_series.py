"""Long series of metrics, which are thinned for a chart."""

from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import delete, text
from sqlalchemy.dialects.postgresql import insert

from core.tables import CandidateMetric, Metric
from tests.fixtures.service.api import Api, Tenant, refusal

JOBS = "/v1/fine_tuning/jobs"
STEPS = 5000
OUTLIERS = {1234: ("train_loss", 99.0), 2345: ("grad_norm", -99.0), 3456: ("valid_loss", 1.5)}


def values(step: int, changed: dict[int, tuple[str, float]]) -> dict[str, Any]:
    name, value = changed.get(step, ("trained_tokens", 100.0 * step))
    ordinary = {"step": step, "train_loss": 1 + (step * 7919 % 1000) / 1000, "grad_norm": 0.5}
    return {**ordinary, "valid_loss": None, "trained_tokens": 100 * step, name: value}


class LongJob:
    """A job with STEPS steps, whose values have some outliers."""

    def __init__(self, api: Api, alice: Tenant) -> None:
        self._sessions, self._http, self.id = api.sessions, alice.http, alice.create_job()["id"]
        self.write(1, STEPS, OUTLIERS)

    def write(self, first: int, last: int, changed: dict[int, tuple[str, float]]) -> None:
        """Write steps as a trainer does. It replaces steps that are there."""
        row = insert(Metric)
        row = row.on_conflict_do_update(index_elements=["job_id", "step"], set_={"data": row.excluded.data})
        steps = range(first, last + 1)
        with self._sessions.begin() as session:
            session.execute(
                row, [{"job_id": self.id, "step": step, "data": values(step, changed)} for step in steps]
            )

    def delete(self) -> None:
        with self._sessions.begin() as session:
            session.execute(delete(Metric).where(Metric.job_id == self.id))

    def blocks(self) -> int:
        with self._sessions() as session:
            count = "SELECT count(DISTINCT block) FROM metric_extremes WHERE job_id = :job"
            return session.scalars(text(count), {"job": self.id}).one()

    def ask(self, **params: int) -> Any:
        return self._http.get(f"{JOBS}/{self.id}/metrics", params=params)

    def steps(self, **params: int) -> list[int]:
        return [point["step"] for point in self.ask(**params).json()["data"]]


@pytest.fixture(scope="module")
def long_job(api: Api, alice: Tenant) -> LongJob:
    return LongJob(api, alice)


def test_a_long_series_is_thinned_without_its_outliers_being_lost(long_job: LongJob) -> None:
    thinned = long_job.ask(points=200).json()
    steps = [point["step"] for point in thinned["data"]]
    assert (thinned["thinned"], thinned["has_more"]) == (True, False)
    assert steps == sorted(set(steps))
    assert 50 < len(steps) <= 200
    assert {1, STEPS, *OUTLIERS} <= set(steps)
    assert {point["step"]: point for point in thinned["data"]}[1234]["train_loss"] == 99.0
    refusal(long_job.ask(points=5), 400, "points")


def test_a_short_part_of_a_long_series_is_whole(long_job: LongJob) -> None:
    part = long_job.ask(points=200, after_step=1200, until_step=1400).json()
    assert [point["step"] for point in part["data"]] == list(range(1201, 1401))
    assert part["thinned"] is False


@pytest.mark.parametrize("points", [100, 200, 800])
@pytest.mark.parametrize(("first", "last"), [(1234, 3456), (1200, 3499), (1201, 4999), (1, STEPS)])
def test_each_part_keeps_the_extremes_of_its_stretches(
    long_job: LongJob, first: int, last: int, points: int
) -> None:
    kept = long_job.steps(points=points, after_step=first - 1, until_step=last)

    assert {first, last, *(step for step in OUTLIERS if first <= step <= last)} <= set(kept)
    assert len(kept) <= points
    assert points / 4 < len(kept)
    assert max(after - before for before, after in pairwise(kept)) < (last - first) / 4
    losses = {step: values(step, OUTLIERS)["train_loss"] for step in range(first, last + 1)}
    names = 4  # the values that may have outliers, and the step
    longest = (last - first) // (points // (2 * names) - 1) + 50
    for before, after in pairwise(kept):
        # Between two steps, no value is beyond those that their stretch keeps
        near = [losses[step] for step in kept if before - longest <= step <= after + longest]
        between = [losses[step] for step in range(before, after + 1)]
        assert min(near) <= min(between) <= max(between) <= max(near)


@pytest.mark.parametrize("points", [None, 200])
def test_no_step_comes_after_the_largest_number(long_job: LongJob, points: int | None) -> None:
    found = long_job.ask(after_step=2**31 - 1, **({"points": points} if points else {}))
    assert (found.status_code, found.json()["data"]) == (200, [])


def test_steps_that_are_computed_again_replace_their_outliers(api: Api, alice: Tenant) -> None:
    job = LongJob(api, alice)
    job.write(1220, 1300, {1270: ("train_loss", -5.0)})

    thinned = {point["step"]: point["train_loss"] for point in job.ask(points=200).json()["data"]}
    assert (max(thinned.values()), thinned[1270]) == (1.999, -5.0)
    job.write(1220, 1235, {1230: ("train_loss", 77.0)})  # and no more: the block is not whole
    assert 1230 in job.steps(points=200)


def test_a_deleted_series_leaves_nothing_of_its_extremes(api: Api, alice: Tenant) -> None:
    job = LongJob(api, alice)
    assert job.blocks() == STEPS // 50
    job.delete()
    assert job.blocks() == 0


def test_the_series_of_a_candidate_is_thinned_by_its_own_extremes(api: Api, alice: Tenant) -> None:
    job_id = alice.create_job()["id"]
    with api.sessions.begin() as session:
        for number, outlier in enumerate((1111, 2222)):
            session.add_all(
                CandidateMetric(
                    job_id=job_id, number=number, step=step, data=values(step, {outlier: ("train_loss", 9.0)})
                )
                for step in range(1, 3001)
            )
    for number, (own, other) in enumerate(((1111, 2222), (2222, 1111))):
        url = f"{JOBS}/{job_id}/metrics"
        found = alice.http.get(url, params={"candidate": number, "points": 100}).json()["data"]
        kept = {point["step"]: point["train_loss"] for point in found}
        assert kept[own] == 9.0
        assert kept.get(other) != 9.0
