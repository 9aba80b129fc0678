"""What projects used, added up by day."""

from datetime import date
from decimal import Decimal

from sqlalchemy import BigInteger, ForeignKey, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class UsageDay(Base):
    """The use of a project on one day in UTC, by those of its claims that are marked as `counted`."""

    __tablename__ = "usage_days"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    trained_tokens: Mapped[int] = mapped_column(BigInteger)
    device_seconds: Mapped[Decimal] = mapped_column(Numeric)
