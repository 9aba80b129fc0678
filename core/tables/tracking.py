"""How far a job's steps have been reported to the experiment trackers that it asked for."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class Tracker(Base):
    """One tracker of a job; what it was asked for stands in `Job.integrations`.

    Whoever reports holds it until `held_until`, and renews that with each look at the job's new metrics.
    """

    __tablename__ = "trackers"
    __table_args__ = (Index("ix_trackers_due", "held_until", postgresql_where=text("ended_at IS NULL")),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    type: Mapped[str] = mapped_column(primary_key=True)
    reported_step: Mapped[int] = mapped_column(server_default="0", doc="Steps up to it have been reported")
    holder: Mapped[str | None] = mapped_column(doc="The process that reports, or did last")
    held_until: Mapped[datetime] = mapped_column(server_default=func.now())
    failures: Mapped[int] = mapped_column(server_default="0", doc="In a row, without a step reported between")
    ended_at: Mapped[datetime | None] = mapped_column(doc="All is reported, or it was given up")
