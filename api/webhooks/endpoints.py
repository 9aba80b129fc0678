"""/v1/webhook_endpoints: register URLs for events, as at OpenAI, and list and repeat the deliveries."""

from functools import partial
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy.orm import Session

from api.admission.auth import AdminCaller
from api.dependencies import Outgoing, Secrets, Sessions, Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, created, deleted, found_by
from api.http.paging import LIMIT, After
from api.http.routers import feature
from api.schemas import Page
from api.webhooks import service
from api.webhooks.schemas import (
    CreateEndpoint,
    DeliveryObject,
    EndpointDeleted,
    EndpointObject,
    EndpointTested,
    EndpointWithSecret,
    EventTypeList,
    RotateSecret,
    TestEndpoint,
    UpdateEndpoint,
)
from core.access import audit
from core.database import database_time
from core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied, TooLarge
from core.webhooks import EVENT_TYPES

Limit = Annotated[int, Query(ge=1, le=100, description=LIMIT)]

router = feature("/v1", "Webhooks", PermissionDenied)


@router.get("/webhook_event_types")
def list_event_types(_: AdminCaller) -> EventTypeList:
    """List the types of events that an endpoint can get."""
    return EventTypeList(data=list(EVENT_TYPES))


@router.post("/webhook_endpoints", responses=declared(InvalidRequest, Conflict, TooLarge))
def create_endpoint(
    session: Transaction,
    caller: AdminCaller,
    vault: Secrets,
    egress: Outgoing,
    attempt: ThisAttempt,
    body: CreateEndpoint,
) -> EndpointWithSecret:
    """Register a URL that gets events.

    The answer holds the secret that signs the events. Keep it: only a repetition of this request shows it
    again.
    """

    def create() -> EndpointWithSecret:
        endpoint, secret = service.create(session, caller.project_id, vault, egress, body)
        audit.record(session, caller, "webhook_endpoint.created", endpoint.id)
        return EndpointWithSecret.of(endpoint, signing_secret=secret)

    is_there = found_by(service.get, caller.project_id)
    return created(session, attempt, EndpointWithSecret, body, create, is_there, shows_secret=True)


@router.get("/webhook_endpoints", responses=declared(InvalidRequest))
def list_endpoints(
    session: Transaction, caller: AdminCaller, limit: Limit = 20, after: After = None
) -> Page[EndpointObject]:
    """List the project's webhook endpoints, newest first."""
    return service.list_page(session, caller.project_id, after, limit)


@router.get("/webhook_endpoints/{webhook_endpoint_id}", responses=declared(NotFound))
def retrieve_endpoint(session: Transaction, caller: AdminCaller, webhook_endpoint_id: str) -> EndpointObject:
    """Return a webhook endpoint, without its signing secret."""
    return EndpointObject.of(service.get(session, caller.project_id, webhook_endpoint_id))


@router.post(
    "/webhook_endpoints/{webhook_endpoint_id}", responses=declared(InvalidRequest, NotFound, TooLarge)
)
def update_endpoint(
    session: Transaction,
    caller: AdminCaller,
    egress: Outgoing,
    webhook_endpoint_id: str,
    body: UpdateEndpoint,
) -> EndpointObject:
    """Change the name, the URL or the event types of an endpoint, or enable or disable it."""
    endpoint = service.update(session, caller.project_id, egress, webhook_endpoint_id, body)
    audit.record(session, caller, "webhook_endpoint.updated", endpoint.id)
    return EndpointObject.of(endpoint)


@router.delete(
    "/webhook_endpoints/{webhook_endpoint_id}", responses=declared(NotFound, InvalidRequest, Conflict)
)
def delete_endpoint(
    session: Transaction, caller: AdminCaller, attempt: ThisAttempt, webhook_endpoint_id: str
) -> EndpointDeleted:
    """Delete an endpoint with its deliveries. Events that have not been sent yet are not sent."""
    answer = EndpointDeleted(id=webhook_endpoint_id)
    delete = partial(service.delete, session, caller.project_id, webhook_endpoint_id)
    return deleted(session, attempt, answer, "webhook_endpoint.deleted", delete)


@router.post(
    "/webhook_endpoints/{webhook_endpoint_id}/rotate_secret",
    responses=declared(InvalidRequest, NotFound, Conflict, TooLarge),
)
def rotate_secret(
    session: Transaction,
    caller: AdminCaller,
    vault: Secrets,
    attempt: ThisAttempt,
    webhook_endpoint_id: str,
    body: RotateSecret,
) -> EndpointWithSecret:
    """Give the endpoint a new signing secret.

    If the request asks for it, events are signed with the old secret too for 24 hours.
    """

    def rotate() -> EndpointWithSecret:
        keep_former = body.keep_old_secret_active_for_24_hours
        endpoint, secret = service.rotate_secret(
            session, caller.project_id, vault, webhook_endpoint_id, keep_former=keep_former
        )
        audit.record(session, caller, "webhook_endpoint.secret_rotated", endpoint.id)
        return EndpointWithSecret.of(endpoint, signing_secret=secret)

    def signs(session: Session, answer: dict[str, Any]) -> bool:
        secret = answer["signing_secret"]
        return service.signs_with(session, caller.project_id, vault, webhook_endpoint_id, secret)

    return created(session, attempt, EndpointWithSecret, body, rotate, signs, shows_secret=True)


@router.post(
    "/webhook_endpoints/{webhook_endpoint_id}/test", responses=declared(InvalidRequest, NotFound, TooLarge)
)
def test_endpoint(
    sessions: Sessions,
    caller: AdminCaller,
    vault: Secrets,
    egress: Outgoing,
    webhook_endpoint_id: str,
    body: TestEndpoint,
) -> EndpointTested:
    """Send a sample event to the endpoint once, and return the status that it answers with."""
    with sessions() as session:  # closed before the endpoint is waited for
        endpoint = service.get(session, caller.project_id, webhook_endpoint_id)
        now = database_time(session)
    status = service.send_sample(vault, egress, endpoint, body.event_type, now)
    return EndpointTested(webhook_endpoint_id=endpoint.id, event_type=body.event_type, status_code=status)


@router.get(
    "/webhook_endpoints/{webhook_endpoint_id}/deliveries", responses=declared(InvalidRequest, NotFound)
)
def list_deliveries(
    session: Transaction,
    caller: AdminCaller,
    webhook_endpoint_id: str,
    limit: Limit = 20,
    after: After = None,
) -> Page[DeliveryObject]:
    """List the deliveries of an endpoint, newest first."""
    return service.deliveries(session, caller.project_id, webhook_endpoint_id, after, limit)


@router.post(
    "/webhook_endpoints/{webhook_endpoint_id}/deliveries/{delivery_id}/redeliver",
    responses=declared(InvalidRequest, NotFound),
)
def redeliver(
    session: Transaction, caller: AdminCaller, webhook_endpoint_id: str, delivery_id: str
) -> DeliveryObject:
    """Send an event again, now and, if that fails, later. It keeps its `webhook-id`."""
    delivery = service.redeliver(session, caller.project_id, webhook_endpoint_id, delivery_id)
    audit.record(session, caller, "webhook_delivery.redelivered", delivery.id)
    return DeliveryObject.of(delivery)
