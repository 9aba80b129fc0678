"""Webhooks: the endpoints that hear of the end of jobs, and every delivery with its outcome."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.orm import Mapped, mapped_column

from core.tables.base import Base, one_of

DELIVERY_STATUSES = ("pending", "delivered", "failed")


class WebhookEndpoint(Base):
    """A URL to which a project wants events to be sent. `core.secrets.vault` encrypts its secrets."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (Index("ix_webhook_endpoints_project_id_id", "project_id", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    url: Mapped[str]
    event_types: Mapped[list[str]] = mapped_column(ARRAY(TEXT))
    sealed_secret: Mapped[str]
    secret_hint: Mapped[str] = mapped_column(doc="The secret's last characters, for people")
    former_sealed_secret: Mapped[str | None] = mapped_column(doc="Signs too until `former_expires_at`")
    former_expires_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None] = mapped_column(
        doc="When a client disabled it, or it answered 410 Gone; nothing is sent since then"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WebhookDelivery(Base):
    """One event for one endpoint, written in the event's transaction. `core/webhooks.py` alone changes it.

    `next_attempt_at` is set as long as an attempt is due. A sender moves it ahead before it sends, so that
    the death of a sender only costs a delay.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint(one_of("status", DELIVERY_STATUSES), name="status"),
        CheckConstraint(
            "(status = 'pending') = (next_attempt_at IS NOT NULL)", name="only_a_pending_one_is_attempted"
        ),
        Index(
            "ix_webhook_deliveries_due",
            "next_attempt_at",
            postgresql_where=text("next_attempt_at IS NOT NULL"),
        ),
        Index(
            "ix_webhook_deliveries_ended",
            text("coalesce(last_attempt_at, created_at)"),
            postgresql_where=text("next_attempt_at IS NULL"),
        ),
        Index("ix_webhook_deliveries_endpoint_id_id", "endpoint_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    event_type: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(doc="Its `id` is the webhook-id of every attempt")
    status: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(
        server_default="0", doc="Attempts of this round; a redelivery starts at 0"
    )
    next_attempt_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    last_attempt_at: Mapped[datetime | None]
    response_code: Mapped[int | None] = mapped_column(
        doc="Status of the last answer; null where no answer came"
    )
    error: Mapped[str | None] = mapped_column(doc="Why the last attempt failed")
    traceparent: Mapped[str | None] = mapped_column(doc="That of the job")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
