"""The servers that are running."""

from datetime import datetime

from sqlalchemy import String, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class Server(Base):
    """A process that samples from models, as it last reported itself. An expired row counts as gone."""

    __tablename__ = "servers"

    id: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(doc="URL without a path, as http://host:port")
    host: Mapped[str]
    release: Mapped[str]
    bases: Mapped[list[str]] = mapped_column(ARRAY(String), doc="Ids of the base models that it may load")
    resident: Mapped[str | None] = mapped_column(doc="Id of the base model that it has loaded")
    adapters: Mapped[list[str]] = mapped_column(ARRAY(String), doc="Content hashes of its loaded adapters")
    running: Mapped[int] = mapped_column(doc="Answers that it writes")
    waiting: Mapped[int] = mapped_column(doc="Answers that wait there")
    capacity: Mapped[int] = mapped_column(doc="Answers that may wait and run there together")
    draining: Mapped[bool] = mapped_column(doc="Whether it takes no new requests")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(doc="Time from which it counts as gone")
