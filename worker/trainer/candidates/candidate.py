"""One candidate of a job: its trainee, its evaluator, and its own reports."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, insert, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.jobs.lifecycle import Progress
from core.tables import Candidate, CandidateMetric, Metric
from worker.engine.step.trainee import Trainee
from worker.trainer.report.evaluation import Evaluator
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.reporter import JobEvent, Reporter, StepMetrics


class CandidateReporter(Reporter):
    """Writes a candidate's own rows. While it is the best one, its reports also count as the job's."""

    def __init__(self, job_lease: JobLease, number: int, tokens_of_all: Callable[[], int]) -> None:
        self.is_best = False
        self.decided = False
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

    def report(self, event: JobEvent) -> None:
        if self.is_best:
            self._job_lease.report(event.with_data(candidate=self._number))

    def report_status(
        self,
        status: str,
        step: int,
        trained_tokens: int,
        rungs: list[dict[str, Any]],
        reason: str | None = None,
    ) -> None:
        """Write the candidate's row. `rungs` are its results at the comparisons so far."""
        row = {"number": self._number, "status": status, "step": step, "trained_tokens": trained_tokens}
        self._upsert(Candidate, ("number",), {**row, "rungs": list(rungs), "reason": reason})

    def forget_after(self, step: int) -> None:
        """Delete the metrics after `step`. An earlier claim wrote them; the steps are made again."""
        later = (CandidateMetric.number == self._number) & (CandidateMetric.step > step)
        mine = (CandidateMetric.job_id == self._job_lease.lease.job_id) & later
        self._job_lease.write(lambda session: session.execute(delete(CandidateMetric).where(mine)))

    def win(self) -> None:
        """Replace the job's series of metrics with this candidate's, from the first step on."""
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
    """One adapter of a job in training. `rungs` are its results at the comparisons, as stored in its row."""

    def __init__(self, number: int, trainee: Trainee, reporter: CandidateReporter | None) -> None:
        """`reporter` is None for a job's only adapter, which reports to the `JobLease`."""
        self.number = number
        self.trainee = trainee
        self.reporter = reporter
        self.rungs: list[dict[str, Any]] = []
        self._evaluator: Evaluator | None = None

    @property
    def evaluator(self) -> Evaluator:
        """The evaluator. It exists once the candidate has been attached, and restored if it is resumed."""
        assert self._evaluator is not None
        return self._evaluator

    @evaluator.setter
    def evaluator(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def close(self) -> None:
        """Stop waiting for what an evaluation, or the next step, has asked for."""
        if self._evaluator is not None:
            self._evaluator.close()

    @property
    def trained_tokens(self) -> int:
        return self._evaluator.trained_tokens if self._evaluator else 0

    def report_status(self, status: str, reason: str | None = None) -> None:
        """Write the candidate's row, unless it is the job's only adapter."""
        if self.reporter is not None:
            step, tokens = self.trainee.step, self.trained_tokens
            self.reporter.report_status(status, step, tokens, self.rungs, reason)
