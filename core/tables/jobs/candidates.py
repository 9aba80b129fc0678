"""The progress of candidates. Only a job that trains several candidates has rows here."""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base, one_of

CANDIDATE_STATUSES = ("training", "dropped", "failed", "won")


class Candidate(Base):
    """The state of one candidate. Its options are entry `number` of the candidates in the job's `spec`."""

    __tablename__ = "candidates"
    __table_args__ = (CheckConstraint(one_of("status", CANDIDATE_STATUSES), name="status"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    status: Mapped[str]
    step: Mapped[int]
    trained_tokens: Mapped[int] = mapped_column(BigInteger)
    rungs: Mapped[list[dict[str, Any]]] = mapped_column(doc="[{step, valid_loss, behind, noise, kept, left}]")
    reason: Mapped[str | None] = mapped_column(doc="Why it no longer trains")


class CandidateMetric(Base):
    """The values of one optimizer step of one candidate. `Metric` holds those of a job."""

    __tablename__ = "candidate_metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[dict[str, Any]]
