"""Reads of webhook endpoints, which take the project, and of their deliveries, which take the endpoint."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from core.tables import WebhookDelivery, WebhookEndpoint


def find(
    session: Session, project_id: str, endpoint_id: str, *, lock: bool = False
) -> WebhookEndpoint | None:
    query = select(WebhookEndpoint).where(
        WebhookEndpoint.id == endpoint_id, WebhookEndpoint.project_id == project_id
    )
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def count(session: Session, project_id: str) -> int:
    query = select(func.count()).where(WebhookEndpoint.project_id == project_id)
    return session.scalars(query).one()


def page(
    session: Session, project_id: str, *, after: str | None, limit: int
) -> tuple[list[WebhookEndpoint], bool]:
    query = select(WebhookEndpoint).where(WebhookEndpoint.project_id == project_id)
    rows, has_more = fetch_page(session, query, WebhookEndpoint.id, after=after, limit=limit)
    return [endpoint for (endpoint,) in rows], has_more


def locked_delivery(session: Session, endpoint_id: str, delivery_id: str) -> WebhookDelivery | None:
    query = select(WebhookDelivery).where(
        WebhookDelivery.id == delivery_id, WebhookDelivery.endpoint_id == endpoint_id
    )
    return session.scalars(query.with_for_update()).one_or_none()


def deliveries(
    session: Session, endpoint_id: str, *, after: str | None, limit: int
) -> tuple[list[WebhookDelivery], bool]:
    query = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    rows, has_more = fetch_page(session, query, WebhookDelivery.id, after=after, limit=limit)
    return [delivery for (delivery,) in rows], has_more
