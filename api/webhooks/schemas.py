"""Webhook endpoints in OpenAI's form, and their deliveries."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from api.schemas import Deleted, Identified, Seconds, UnixSeconds, from_row
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
    """Changes of an endpoint. Fields that are left out stay as they are."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None
    enabled: Annotated[
        StrictBool | None,
        Field(description="Tunery's own field. False stops sending events until it is true again"),
    ] = None


class RotateSecret(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keep_old_secret_active_for_24_hours: Annotated[
        StrictBool, Field(description="True: events are signed with the old secret too for 24 hours")
    ] = False


class TestEndpoint(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event_type: EventType


class EndpointObject(Identified):
    """A webhook endpoint in OpenAI's form, with the field `enabled`.

    `enabled` is false if a client has disabled the endpoint, or if the endpoint has answered 410 Gone.
    """

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: UnixSeconds
    updated_at: UnixSeconds
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: Annotated[
        str, Field(description="The last characters of the signing secret, to recognise it by")
    ]
    enabled: bool

    @classmethod
    def of(cls, endpoint: WebhookEndpoint, **secret: str) -> Self:
        enabled = endpoint.disabled_at is None
        return from_row(cls, endpoint, signing_secret_hint=endpoint.secret_hint, enabled=enabled, **secret)


class EndpointWithSecret(EndpointObject):
    """A webhook endpoint with its signing secret. No other answer holds the secret."""

    signing_secret: str


class EndpointDeleted(Deleted):
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"


class EndpointTested(BaseModel):
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: Annotated[int, Field(description="The status that the endpoint answered with")]
    success: Literal[True] = True


class EventTypeList(BaseModel):
    object: Literal["list"] = "list"
    data: list[str]


class DeliveryObject(Identified):
    """An event that is sent to an endpoint.

    `attempts` counts from the beginning, or from the last time that a client asked to send it again.
    """

    object: Literal["webhook_delivery"] = "webhook_delivery"
    created_at: UnixSeconds
    webhook_endpoint_id: str
    webhook_id: Annotated[
        str, Field(description="The header `webhook-id` of the event, the same for each attempt")
    ]
    event_type: str
    payload: Annotated[dict[str, Any], Field(description="The body of the event")]
    status: Annotated[str, Field(description="`pending`, `delivered` or `failed`")]
    attempts: int
    last_attempt_at: Annotated[
        Seconds | None, Field(description="Unix seconds. Null before the first attempt")
    ]
    next_attempt_at: Annotated[
        Seconds | None, Field(description="Unix seconds. Null unless the delivery is pending")
    ]
    response_code: Annotated[
        int | None, Field(description="The status of the endpoint's last answer. Null if there was none")
    ]
    error: Annotated[str | None, Field(description="Why the last attempt failed")]

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> "DeliveryObject":
        webhook_id = delivery.payload["id"]
        return from_row(cls, delivery, webhook_endpoint_id=delivery.endpoint_id, webhook_id=webhook_id)
