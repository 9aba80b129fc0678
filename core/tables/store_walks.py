"""How far the janitors have looked through the object store for objects that nothing needs."""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class StoreWalk(Base):
    """The walk through the keys that begin with one prefix. All workers share it, page by page."""

    __tablename__ = "store_walks"

    prefix: Mapped[str] = mapped_column(primary_key=True)
    after: Mapped[str] = mapped_column(server_default="", doc="The last key of the page before; '' to begin")
    next_page_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), doc="The worker that takes a page moves it ahead, and back when it is done"
    )
