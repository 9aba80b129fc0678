"""The tokens of chats and completions."""

from datetime import date

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base


class ChatUsage(Base):
    """What a project asked of one model on one day, in UTC. Every answer adds to the row."""

    __tablename__ = "chat_usage"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True, doc="The name of the model that answered")
    requests: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int] = mapped_column(BigInteger, doc="Those of the prompts that were cached")
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
