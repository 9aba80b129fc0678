"""The smallest and the largest values in each block of a job's steps, from which long curves are drawn."""

from sqlalchemy import Double, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base

BLOCK_STEPS = 50
OF_THE_JOB = -1


class MetricExtremes(Base):
    """Where one value is smallest and largest among the BLOCK_STEPS steps of a block, at the earliest step.

    Triggers of `metrics` and `candidate_metrics` write the rows of a block once its last step is written, and
    delete them if one of its steps is written again. Block 2 begins at step 2 * BLOCK_STEPS. The value `step`
    tells the first and the last step of the block.
    """

    __tablename__ = "metric_extremes"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    candidate: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, doc="-1 for the series of the job itself"
    )
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(primary_key=True)
    least: Mapped[float] = mapped_column(Double)
    least_step: Mapped[int]
    most: Mapped[float] = mapped_column(Double)
    most_step: Mapped[int]
