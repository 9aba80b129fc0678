"""One of a job's adapters that train side by side: what trains it, and what is told of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Unpack

from sqlalchemy import delete, insert, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.jobs.events import EventOptions
from core.jobs.lifecycle import Progress
from core.tables import Candidate, CandidateMetric, Metric
from worker.engine.step.trainee import Trainee
from worker.report.evaluation import JobMetrics
from worker.report.job_lease import JobLease, StepMetrics


class CandidateReporter:
    """Write a candidate's own rows and, while the candidate is the best one, the job's."""

    def __init__(self, job_lease: JobLease, number: int, tokens_of_all: Callable[[], int]) -> None:
        self.is_best = False
        self.decided = False  # whether no other is left
        self._job_lease = job_lease
        self._number = number
        self._tokens_of_all = tokens_of_all

    def progress(self, progress: Progress) -> None:
        if self.is_best:
            self._job_lease.progress(replace(progress, trained_tokens=self._tokens_of_all()))

    def metrics(self, metrics: StepMetrics, message: str) -> None:
        row = {"number": self._number, "step": metrics.step, "data": metrics.data}
        self._upsert(CandidateMetric, ("number", "step"), row)
        if self.is_best:
            data = {**metrics.data, "candidate": self._number}
            self._job_lease.metrics(StepMetrics(metrics.step, data), message)

    def event(self, message: str, once_as: str | None = None, **options: Unpack[EventOptions]) -> None:
        """What is told of the leader is the job's."""
        if self.is_best:
            options["data"] = {**(options.get("data") or {}), "candidate": self._number}
            self._job_lease.event(message, once_as, **options)

    def stands(
        self,
        status: str,
        step: int,
        trained_tokens: int,
        rungs: list[dict[str, Any]],
        reason: str | None = None,
    ) -> None:
        row = {"number": self._number, "status": status, "step": step, "trained_tokens": trained_tokens}
        self._upsert(Candidate, ("number",), {**row, "rungs": list(rungs), "reason": reason})

    def forget_after(self, step: int) -> None:
        """What was made of later steps before a resume."""
        later = (CandidateMetric.number == self._number) & (CandidateMetric.step > step)
        mine = (CandidateMetric.job_id == self._job_lease.lease.job_id) & later
        self._job_lease.write(lambda session: session.execute(delete(CandidateMetric).where(mine)))

    def win(self) -> None:
        """Let the job's series be this candidate's, from the first step on."""
        job_id, number = self._job_lease.lease.job_id, self._number

        def adopt(session: Session) -> None:
            session.execute(delete(Metric).where(Metric.job_id == job_id))
            mine = select(literal(job_id), CandidateMetric.step, CandidateMetric.data).where(
                CandidateMetric.job_id == job_id, CandidateMetric.number == number
            )
            session.execute(insert(Metric).from_select(["job_id", "step", "data"], mine))

        self._job_lease.write(adopt)

    def _upsert(
        self, table: type[Candidate | CandidateMetric], keys: tuple[str, ...], row: dict[str, Any]
    ) -> None:
        statement = upsert(table).values(job_id=self._job_lease.lease.job_id, **row)
        others = {name: statement.excluded[name] for name in row if name not in keys}
        statement = statement.on_conflict_do_update(index_elements=["job_id", *keys], set_=others)
        self._job_lease.write(lambda session: session.execute(statement))


class TrainingCandidate:
    """`rungs` are its results there, as its row shows them."""

    def __init__(self, number: int, trainee: Trainee, reporter: CandidateReporter | None) -> None:
        """`reporter` is None for a job's only adapter, which reports as the job."""
        self.number = number
        self.trainee = trainee
        self.reporter = reporter
        self.rungs: list[dict[str, Any]] = []
        self._metrics: JobMetrics | None = None

    @property
    def metrics(self) -> JobMetrics:
        assert self._metrics is not None
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: JobMetrics) -> None:
        self._metrics = metrics

    @property
    def trained_tokens(self) -> int:
        return self._metrics.trained_tokens if self._metrics else self.trainee.trained_tokens

    def stands(self, status: str, reason: str | None = None) -> None:
        """Tell where it stands, where that is told apart from the job."""
        if self.reporter is not None:
            step, tokens = self.trainee.step, self.trained_tokens
            self.reporter.stands(status, step, tokens, self.rungs, reason)
