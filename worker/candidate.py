"""One of a job's adapters that train side by side: what trains it, and what is told of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Unpack

from sqlalchemy import delete, insert, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.events import EventOptions
from core.lifecycle import Progress
from core.models import Candidate as Row
from core.models import CandidateMetric, Metric
from worker.engine.member import Member
from worker.job_metrics import JobMetrics
from worker.reporter import Reporter, StepMetrics


class CandidateReporter:
    """A candidate's part of its job's line to the database: its own rows and, while it leads, the job's."""

    def __init__(self, reporter: Reporter, number: int, tokens_of_all: Callable[[], int]) -> None:
        self.leads = False
        self.decided = False  # whether no other is left
        self._reporter = reporter
        self._number = number
        self._tokens_of_all = tokens_of_all

    def progress(self, progress: Progress) -> None:
        if self.leads:
            self._reporter.progress(replace(progress, trained_tokens=self._tokens_of_all()))

    def metrics(self, metrics: StepMetrics, message: str) -> None:
        row = {"number": self._number, "step": metrics.step, "data": metrics.data}
        self._upsert(CandidateMetric, ("number", "step"), row)
        if self.leads:
            data = {**metrics.data, "candidate": self._number}
            self._reporter.metrics(StepMetrics(metrics.step, data), message)

    def event(self, message: str, once_as: str | None = None, **options: Unpack[EventOptions]) -> None:
        """What is told of the leader is the job's."""
        if self.leads:
            options["data"] = {**(options.get("data") or {}), "candidate": self._number}
            self._reporter.event(message, once_as, **options)

    def stands(
        self,
        status: str,
        step: int,
        trained_tokens: int,
        rungs: list[dict[str, Any]],
        reason: str | None = None,
    ) -> None:
        row = {"number": self._number, "status": status, "step": step, "trained_tokens": trained_tokens}
        self._upsert(Row, ("number",), {**row, "rungs": list(rungs), "reason": reason})

    def forget_after(self, step: int) -> None:
        """What was made of later steps before a resume."""
        later = (CandidateMetric.number == self._number) & (CandidateMetric.step > step)
        mine = (CandidateMetric.job_id == self._reporter.lease.job_id) & later
        self._reporter.write(lambda session: session.execute(delete(CandidateMetric).where(mine)))

    def win(self) -> None:
        """Let the job's series be this candidate's, from the first step on."""
        job_id, number = self._reporter.lease.job_id, self._number

        def adopt(session: Session) -> None:
            session.execute(delete(Metric).where(Metric.job_id == job_id))
            mine = select(literal(job_id), CandidateMetric.step, CandidateMetric.data).where(
                CandidateMetric.job_id == job_id, CandidateMetric.number == number
            )
            session.execute(insert(Metric).from_select(["job_id", "step", "data"], mine))

        self._reporter.write(adopt)

    def _upsert(self, table: type[Row | CandidateMetric], keys: tuple[str, ...], row: dict[str, Any]) -> None:
        statement = upsert(table).values(job_id=self._reporter.lease.job_id, **row)
        others = {name: statement.excluded[name] for name in row if name not in keys}
        statement = statement.on_conflict_do_update(index_elements=["job_id", *keys], set_=others)
        self._reporter.write(lambda session: session.execute(statement))


class Candidate:
    """`rungs` are its results there, as its row shows them."""

    def __init__(self, number: int, member: Member, reporter: CandidateReporter | None) -> None:
        """`reporter` is None for a job's only adapter, which reports as the job."""
        self.number = number
        self.member = member
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
        return self._metrics.trained_tokens if self._metrics else self.member.trained_tokens

    def stands(self, status: str, reason: str | None = None) -> None:
        """Tell where it stands, where that is told apart from the job."""
        if self.reporter is not None:
            step, tokens = self.member.step, self.trained_tokens
            self.reporter.stands(status, step, tokens, self.rungs, reason)
