"""The workers that are running."""

from datetime import datetime

from sqlalchemy import BigInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class Worker(Base):
    """A trainer, as it last reported itself. It decides nothing of jobs: leases alone say who owns one."""

    __tablename__ = "workers"

    owner: Mapped[str] = mapped_column(primary_key=True, doc="The owner in the claims that it holds")
    host: Mapped[str]
    release: Mapped[str]
    devices: Mapped[int] = mapped_column(doc="Its device class")
    device_type: Mapped[str] = mapped_column(doc="cpu or cuda")
    device_name: Mapped[str]
    number_bytes: Mapped[int | None] = mapped_column(
        doc="Bytes of a number that base models compute with there"
    )
    lanes: Mapped[int | None] = mapped_column(doc="Parts of a micro-batch that it computes side by side")
    memory_bytes: Mapped[int] = mapped_column(BigInteger, doc="Memory of its first device, or of the machine")
    memory_used_bytes: Mapped[int] = mapped_column(BigInteger, doc="Memory in use there, by any process")
    base_model: Mapped[str | None] = mapped_column(doc="Id of the resident base model in the catalog")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(doc="Time from which it counts as gone")
