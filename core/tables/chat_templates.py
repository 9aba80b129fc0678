"""What workers have seen of the chat templates of base models."""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class ChatTemplate(Base):
    """The chat template of a base model of the catalog, as a worker last saw it on its disk or at the hub."""

    __tablename__ = "chat_templates"

    base_model: Mapped[str] = mapped_column(
        primary_key=True, doc="Id in the catalog, and revision (`token_counts.tokenizer_of`)"
    )
    places: Mapped[list[str]] = mapped_column(JSONB, doc="What it has a place for (`template_needs`)")
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
