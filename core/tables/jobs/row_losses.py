"""The losses of single rows before and after a training."""

from sqlalchemy import CheckConstraint, Double, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base, one_of

PARTS = ("training", "validation")


class RowLoss(Base):
    """The losses of one row of a job's training file or validation file, in nats per learnt token.

    `line` is the row's line in the file that the job reads. A loss is null until it is measured, and if it
    is not finite. `suspicion` is how far the loss after the training is above those of similar prompts.
    """

    __tablename__ = "row_losses"
    __table_args__ = (CheckConstraint(one_of("part", PARTS), name="part"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    part: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tokens: Mapped[int]
    before: Mapped[float | None] = mapped_column(Double)
    after: Mapped[float | None] = mapped_column(Double)
    suspicion: Mapped[float | None] = mapped_column(Double)
