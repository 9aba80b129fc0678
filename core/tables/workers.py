"""The workers that are there."""

from datetime import datetime

from sqlalchemy import BigInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class Worker(Base):
    """A trainer, as it last told of itself. Nothing is decided by it: leases alone say who owns a job."""

    __tablename__ = "workers"

    owner: Mapped[str] = mapped_column(primary_key=True, doc="As in the runs that it holds")
    host: Mapped[str]
    release: Mapped[str]
    devices: Mapped[int] = mapped_column(doc="Its class")
    device_type: Mapped[str] = mapped_column(doc="cpu or cuda")
    device_name: Mapped[str]
    memory_bytes: Mapped[int] = mapped_column(BigInteger, doc="Of its first device, or the machine")
    memory_used_bytes: Mapped[int] = mapped_column(BigInteger, doc="By whomever")
    base_model: Mapped[str | None] = mapped_column(doc="The resident one's id in the catalog")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(doc="From then on it counts as gone")
