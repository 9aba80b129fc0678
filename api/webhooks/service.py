"""Changes webhook endpoints, and repeats deliveries. Nothing here commits; `core.webhooks` sends."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.http.paging import shown_page
from api.schemas import Page
from api.webhooks.schemas import CreateEndpoint, DeliveryObject, EndpointObject, UpdateEndpoint
from core import webhooks
from core.egress import Egress, EgressRefused
from core.errors import InvalidRequest, NotFound
from core.ids import id_pattern, new_id
from core.secrets.vault import Vault
from core.tables import WebhookDelivery, WebhookEndpoint
from core.webhooks import Outcome

ENDPOINT_ID, DELIVERY_ID = id_pattern("whe_"), id_pattern("whd_")
MAX_ENDPOINTS = 20  # of a project: the end of a job writes a row for each of them
SAMPLE_JOB = "ftjob-sample"


def create(
    session: Session, project_id: str, vault: Vault, egress: Egress, request: CreateEndpoint
) -> tuple[WebhookEndpoint, str]:
    """Create an endpoint, and return it with its signing secret. Raises InvalidRequest."""
    _check_url(egress, request.url)
    count = select(func.count()).where(WebhookEndpoint.project_id == project_id)
    if session.scalars(count).one() >= MAX_ENDPOINTS:
        raise InvalidRequest(
            f"A project has at most {MAX_ENDPOINTS} webhook endpoints. Delete one first.",
            code="too_many_webhook_endpoints",
        )
    endpoint = WebhookEndpoint(
        id=new_id("whe_"),
        project_id=project_id,
        name=request.name,
        url=request.url,
        event_types=_without_twins(request.event_types),
    )
    secret = webhooks.new_signing_secret()
    webhooks.set_secret(vault, endpoint, secret, keep_former=False)
    session.add(endpoint)
    session.flush()
    return endpoint, secret


def get(session: Session, project_id: str, endpoint_id: str, *, lock: bool = False) -> WebhookEndpoint:
    """Return an endpoint. Raises NotFound, also for an endpoint of another project."""
    endpoint = _find(session, project_id, endpoint_id, lock=lock)
    if endpoint is None:
        raise NotFound(
            f"No such webhook endpoint: {endpoint_id}",
            code="webhook_endpoint_not_found",
            param="webhook_endpoint_id",
        )
    return endpoint


def list_page(session: Session, project_id: str, after: str | None, limit: int) -> Page[EndpointObject]:
    query, key = select(WebhookEndpoint).where(WebhookEndpoint.project_id == project_id), WebhookEndpoint.id
    return shown_page(session, query, key, EndpointObject.of, ids=ENDPOINT_ID, after=after, limit=limit)


def update(
    session: Session, project_id: str, egress: Egress, endpoint_id: str, request: UpdateEndpoint
) -> WebhookEndpoint:
    """Change an endpoint, and return it. Raises NotFound, and InvalidRequest for a URL that is refused."""
    endpoint = get(session, project_id, endpoint_id, lock=True)
    if request.url is not None:
        _check_url(egress, request.url)
        endpoint.url = request.url
    if request.name is not None:
        endpoint.name = request.name
    if request.event_types is not None:
        endpoint.event_types = _without_twins(request.event_types)
    if request.enabled is not None and request.enabled != (endpoint.disabled_at is None):
        endpoint.disabled_at = None if request.enabled else func.now()
    if session.is_modified(endpoint):
        endpoint.updated_at = func.now()
    session.flush()
    session.refresh(endpoint)
    return endpoint


def rotate_secret(
    session: Session, project_id: str, vault: Vault, endpoint_id: str, *, keep_former: bool
) -> tuple[WebhookEndpoint, str]:
    """Give the endpoint a new signing secret, and return both. Raises NotFound.

    With `keep_former`, events are signed with the old secret too for a day.
    """
    endpoint = get(session, project_id, endpoint_id, lock=True)
    secret = webhooks.new_signing_secret()
    webhooks.set_secret(vault, endpoint, secret, keep_former=keep_former)
    endpoint.updated_at = func.now()
    session.flush()
    session.refresh(endpoint)
    return endpoint, secret


def signs_with(session: Session, project_id: str, vault: Vault, endpoint_id: str, secret: str) -> bool:
    """Return whether the endpoint signs with this secret. It does so until the transaction ends."""
    endpoint = _find(session, project_id, endpoint_id, lock=True)
    return endpoint is not None and vault.open(endpoint.sealed_secret) == secret


def delete(session: Session, project_id: str, endpoint_id: str) -> None:
    """Delete an endpoint with its deliveries. Raises NotFound."""
    session.delete(get(session, project_id, endpoint_id, lock=True))


def send_sample(
    vault: Vault, egress: Egress, endpoint: WebhookEndpoint, event_type: str, now: datetime
) -> int:
    """Send a sample event, and return the status of the answer. Raises InvalidRequest if no answer comes."""
    payload = webhooks.payload_of(event_type, SAMPLE_JOB, now)
    secrets = [vault.open(sealed) for sealed in webhooks.live_secrets(endpoint, now)]
    outcome: Outcome = webhooks.send(egress, endpoint.url, payload, secrets, now)
    if outcome.response_code is None:
        raise InvalidRequest(f"The endpoint did not answer: {outcome.error}.", code="webhook_not_answered")
    return outcome.response_code


def deliveries(
    session: Session, project_id: str, endpoint_id: str, after: str | None, limit: int
) -> Page[DeliveryObject]:
    endpoint = get(session, project_id, endpoint_id)
    query, key = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint.id), WebhookDelivery.id
    return shown_page(session, query, key, DeliveryObject.of, ids=DELIVERY_ID, after=after, limit=limit)


def redeliver(session: Session, project_id: str, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
    """Send the delivery again, and return it.

    Raises NotFound, and InvalidRequest if the endpoint is disabled.
    """
    endpoint = get(session, project_id, endpoint_id)
    query = select(WebhookDelivery).where(
        WebhookDelivery.id == delivery_id, WebhookDelivery.endpoint_id == endpoint.id
    )
    delivery = session.scalars(query.with_for_update()).one_or_none()
    if delivery is None:
        raise NotFound(
            f"No such webhook delivery: {delivery_id}", code="webhook_delivery_not_found", param="delivery_id"
        )
    if endpoint.disabled_at is not None:
        raise InvalidRequest(
            f"The endpoint {endpoint.id} is disabled. Enable it first.", code="webhook_endpoint_disabled"
        )
    webhooks.redeliver(delivery)
    session.flush()
    session.refresh(delivery)
    return delivery


def _find(session: Session, project_id: str, endpoint_id: str, *, lock: bool) -> WebhookEndpoint | None:
    query = select(WebhookEndpoint).where(
        WebhookEndpoint.id == endpoint_id, WebhookEndpoint.project_id == project_id
    )
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def _check_url(egress: Egress, url: str) -> None:
    try:
        egress.check_url(url)
    except EgressRefused as error:
        raise InvalidRequest(f"The URL is refused: {error}.", code="invalid_url", param="url") from error


def _without_twins(event_types: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(event_types))
