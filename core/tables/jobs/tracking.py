"""The progress of reporting a job's steps to its experiment trackers."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class Tracker(Base):
    """One tracker of a job. Its settings are in `Job.integrations`.

    The process that reports holds the tracker until `held_until`. It renews that time whenever it looks for
    new metrics of the job.
    """

    __tablename__ = "trackers"
    __table_args__ = (Index("ix_trackers_due", "held_until", postgresql_where=text("ended_at IS NULL")),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    type: Mapped[str] = mapped_column(primary_key=True)
    reported_step: Mapped[int] = mapped_column(server_default="0", doc="The last step that has been reported")
    holder: Mapped[str | None] = mapped_column(doc="The process that reports, or reported last")
    held_until: Mapped[datetime] = mapped_column(server_default=func.now())
    failures: Mapped[int] = mapped_column(
        server_default="0", doc="Failures in a row, without a reported step in between"
    )
    ended_at: Mapped[datetime | None] = mapped_column(
        doc="When everything was reported, or the reporting was given up"
    )
