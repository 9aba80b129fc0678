"""Webhook endpoints in OpenAI's shape, and their deliveries."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from api.schemas import Identified, unix_seconds
from core.tables import WebhookDelivery, WebhookEndpoint

EventType = Literal["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]
EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=16)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


class CreateEndpoint(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    url: Annotated[Url, Field(description="An https URL with a public address")]
    event_types: EventTypes


class UpdateEndpoint(BaseModel):
    """What is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None
    enabled: Annotated[
        StrictBool | None, Field(description="Tunery's own: false sends nothing meanwhile")
    ] = None


class RotateSecret(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keep_old_secret_active_for_24_hours: StrictBool = False


class TestEndpoint(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event_type: EventType


class EndpointObject(Identified):
    """OpenAI's, and `enabled`: false once the endpoint has answered 410 Gone."""

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    updated_at: int
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    enabled: bool

    @classmethod
    def fields(cls, endpoint: WebhookEndpoint) -> dict[str, Any]:
        return {
            "id": endpoint.id,
            "created_at": unix_seconds(endpoint.created_at),
            "updated_at": unix_seconds(endpoint.updated_at),
            "name": endpoint.name,
            "url": endpoint.url,
            "event_types": endpoint.event_types,
            "signing_secret_hint": endpoint.secret_hint,
            "enabled": endpoint.disabled_at is None,
        }

    @classmethod
    def of(cls, endpoint: WebhookEndpoint) -> "EndpointObject":
        return cls(**cls.fields(endpoint))


class EndpointWithSecret(EndpointObject):
    """The only answer that holds the signing secret."""

    signing_secret: str

    @classmethod
    def showing(cls, endpoint: WebhookEndpoint, secret: str) -> "EndpointWithSecret":
        return cls(**cls.fields(endpoint), signing_secret=secret)


class EndpointDeleted(BaseModel):
    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class EndpointTested(BaseModel):
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = True


class EventTypeList(BaseModel):
    object: Literal["list"] = "list"
    data: list[str]


class DeliveryObject(Identified):
    """One event for one endpoint. `attempts` counts from the last time that it was begun or redelivered."""

    object: Literal["webhook_delivery"] = "webhook_delivery"
    created_at: int
    webhook_endpoint_id: str
    webhook_id: str
    event_type: str
    payload: dict[str, Any]
    status: str
    attempts: int
    last_attempt_at: int | None
    next_attempt_at: int | None
    response_code: int | None
    error: str | None

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> "DeliveryObject":
        last, upcoming = delivery.last_attempt_at, delivery.next_attempt_at
        return cls(
            id=delivery.id,
            created_at=unix_seconds(delivery.created_at),
            webhook_endpoint_id=delivery.endpoint_id,
            webhook_id=delivery.payload["id"],
            event_type=delivery.event_type,
            payload=delivery.payload,
            status=delivery.status,
            attempts=delivery.attempts,
            last_attempt_at=unix_seconds(last) if last else None,
            next_attempt_at=unix_seconds(upcoming) if upcoming else None,
            response_code=delivery.response_code,
            error=delivery.error,
        )
