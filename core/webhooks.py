"""Webhooks as an outbox: a delivery is written in the transaction of its event, and sent later at least once.

Deliveries carry OpenAI's payload and are signed by the rules of Standard Webhooks
(https://www.standardwebhooks.com). Every function works inside the caller's transaction and never commits. No
session is open while a delivery is sent: first `claim_due`, then `send`, then `record_attempt`. All times are
those of the database's clock, also the time that is signed: receivers refuse events whose time is wrong.
"""

import base64
import json
import random
import secrets
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, Subquery, case, func, literal, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from core.database import database_time, from_now
from core.egress import Egress, EgressRefused, NotAnswered, post
from core.ids import new_id
from core.secrets.vault import Vault
from core.signatures import signature_headers
from core.statuses import ENDED
from core.tables import Job, WebhookDelivery, WebhookEndpoint
from core.tracing import spans

EVENT_TYPES = tuple(f"fine_tuning.job.{status}" for status in ENDED)

TIMEOUT_SECONDS = 15.0
# Seconds until the next attempt. One more attempt follows the last delay; then the delivery has failed.
DELAYS = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
JITTER = 0.1  # a delay varies by this share, so that deliveries that failed together are sent again apart
CLAIM_SECONDS = 60  # a sender that has recorded no outcome after so many seconds counts as dead
FORMER_SECRET_HOURS = 24
GONE = 410
MAX_ERROR = 500


@dataclass(frozen=True)
class Message:
    """Everything that an attempt needs. `attempt` is a fence: the result of an older attempt is dropped.

    `claimed_at` is the time that is signed. The attempt begins at once.
    """

    delivery_id: str
    endpoint_id: str
    project_id: str
    attempt: int
    url: str
    payload: dict[str, Any]
    sealed_secrets: tuple[str, ...]
    claimed_at: datetime
    traceparent: str | None = None
    """The trace of the job"""


@dataclass(frozen=True)
class Outcome:
    """The result of an attempt: the status of the answer, or the reason why no answer came."""

    response_code: int | None
    error: str | None = None

    @property
    def delivered(self) -> bool:
        """Whether the endpoint has accepted the delivery."""
        return self.response_code is not None and 200 <= self.response_code < 300


def announce_end(session: Session, job: Job) -> None:
    """Write a delivery for each endpoint of the job's project that wants events about this end."""
    event_type = f"fine_tuning.job.{job.status}"
    endpoints = select(WebhookEndpoint).where(
        WebhookEndpoint.project_id == job.project_id,
        WebhookEndpoint.disabled_at.is_(None),
        WebhookEndpoint.event_types.contains([event_type]),
    )
    # The endpoints are locked. Otherwise, if one were deleted meanwhile, this transaction would fail, and
    # the job's end would be undone with it.
    for endpoint in session.scalars(endpoints.with_for_update(read=True, key_share=True)):
        session.add(
            WebhookDelivery(
                id=new_id("whd_"),
                endpoint_id=endpoint.id,
                event_type=event_type,
                payload=payload_of(event_type, job.id, database_time(session)),
                traceparent=job.traceparent,
            )
        )


def payload_of(event_type: str, job_id: str, created_at: datetime) -> dict[str, Any]:
    """Return an event in OpenAI's form."""
    return {
        "id": new_id("evt_"),
        "object": "event",
        "created_at": int(created_at.timestamp()),
        "type": event_type,
        "data": {"id": job_id},
    }


def any_due(session: Session) -> bool:
    """Return whether an attempt of a delivery is due. It takes no lock and reads a row of an index."""
    return bool(session.scalar(ANY_DUE))


def claim_due(session: Session, limit: int, per_project: int, busy: Collection[Message]) -> list[Message]:
    """Take deliveries whose next attempt is due: one for each endpoint, and none for endpoints in `busy`.

    `busy` are the messages that the caller is still sending. With these, a project has at most `per_project`
    messages. The project with the fewest comes first.
    """
    at_work = tuple((message.endpoint_id, message.project_id) for message in busy)
    rows = session.execute(_due(limit, per_project, at_work))
    messages = []
    for delivery, endpoint, now in rows:
        delivery.attempts += 1
        delivery.last_attempt_at = func.now()
        delivery.response_code = delivery.error = None
        delivery.next_attempt_at = from_now(CLAIM_SECONDS)
        messages.append(
            Message(
                delivery.id,
                endpoint.id,
                endpoint.project_id,
                delivery.attempts,
                endpoint.url,
                delivery.payload,
                live_secrets(endpoint, now),
                now,
                delivery.traceparent,
            )
        )
    return messages


@lru_cache(maxsize=1)  # workers ask every second, most often with nothing at work; building takes longest
def _due(
    limit: int, per_project: int, at_work: tuple[tuple[str, str], ...]
) -> Select[WebhookDelivery, WebhookEndpoint, datetime]:
    """Return the query for the deliveries to send now, locked, with their endpoints and the present time."""
    due = _due_by_project(at_work)
    return (
        select(WebhookDelivery, WebhookEndpoint, func.now())
        .join(due, due.c.id == WebhookDelivery.id)
        .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
        .where(WebhookDelivery.next_attempt_at <= func.now(), due.c.position <= per_project)
        .order_by(due.c.position, WebhookDelivery.next_attempt_at)
        .limit(limit)
        .with_for_update(of=WebhookDelivery, skip_locked=True)
    )


def _due_by_project(at_work: Collection[tuple[str, str]]) -> Subquery:
    """Return the query for the first due delivery of each endpoint that is not at work.

    `at_work` are the ids of endpoints and their projects. `position` numbers the deliveries of each project,
    and goes on after those that are at work.
    """
    first = (
        select(
            WebhookDelivery.id, WebhookDelivery.next_attempt_at.label("due_at"), WebhookEndpoint.project_id
        )
        .ext(distinct_on(WebhookDelivery.endpoint_id))
        .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
        .where(
            WebhookDelivery.next_attempt_at <= func.now(),
            WebhookDelivery.endpoint_id.not_in({endpoint for endpoint, _ in at_work}),
            WebhookEndpoint.disabled_at.is_(None),
        )
        .order_by(WebhookDelivery.endpoint_id, WebhookDelivery.next_attempt_at)
        .subquery()
    )
    counts = Counter(project for _, project in at_work)
    before = case(counts, value=first.c.project_id, else_=0) if counts else literal(0)
    within = func.row_number().over(partition_by=first.c.project_id, order_by=first.c.due_at)
    return select(first.c.id, (before + within).label("position")).subquery()


def live_secrets(endpoint: WebhookEndpoint, now: datetime) -> tuple[str, ...]:
    """Return the encrypted secrets that sign now: the newest secret, and the former one until it expires."""
    expires_at = endpoint.former_expires_at
    if endpoint.former_sealed_secret is None or expires_at is None or expires_at < now:
        return (endpoint.sealed_secret,)
    return (endpoint.sealed_secret, endpoint.former_sealed_secret)


def send(
    egress: Egress, url: str, payload: dict[str, Any], signing_secrets: Sequence[str], now: datetime
) -> Outcome:
    """Make one attempt and return its outcome. No receiver can make it raise an error."""
    body = json.dumps(payload, separators=(",", ":")).encode()
    try:
        status = post(egress, url, _headers(payload["id"], body, signing_secrets, now), body, TIMEOUT_SECONDS)
    except (EgressRefused, NotAnswered) as error:
        return Outcome(None, str(error)[:MAX_ERROR])
    outcome = Outcome(status)
    return outcome if outcome.delivered else Outcome(status, f"the endpoint answered {status}")


def record_attempt(session: Session, message: Message, outcome: Outcome) -> None:
    """Record the outcome of an attempt: the delivery succeeded, will be repeated, or has failed."""
    endpoint = session.get(WebhookEndpoint, message.endpoint_id, with_for_update={"key_share": True})
    delivery = session.get(WebhookDelivery, message.delivery_id, with_for_update=True)
    if endpoint is None or delivery is None:
        return  # it was deleted meanwhile
    if delivery.status != "pending" or delivery.attempts != message.attempt:
        return  # a later attempt has begun meanwhile
    delivery.response_code, delivery.error = outcome.response_code, outcome.error
    if outcome.delivered:
        _end(delivery, "delivered")
    elif outcome.response_code == GONE:
        _end(delivery, "failed")
        session.flush()
        _disable(session, endpoint)
    elif message.attempt > len(DELAYS):
        _end(delivery, "failed")
    else:
        delay = DELAYS[message.attempt - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        delivery.next_attempt_at = from_now(delay)


def _disable(session: Session, endpoint: WebhookEndpoint) -> None:
    """Disable the endpoint, and fail the deliveries that wait for it."""
    endpoint.disabled_at = func.now()
    waiting = select(WebhookDelivery).where(
        WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.status == "pending"
    )
    for delivery in session.scalars(waiting.with_for_update()):
        _end(delivery, "failed")
        delivery.error = "the endpoint has answered 410 Gone and is disabled"


def _end(delivery: WebhookDelivery, status: str) -> None:
    delivery.status, delivery.next_attempt_at = status, None


def redeliver(delivery: WebhookDelivery) -> None:
    """Make a waiting delivery due now, and start an ended delivery again with all its attempts.

    The webhook-id stays the same.
    """
    if delivery.status != "pending":
        delivery.status, delivery.attempts = "pending", 0
    delivery.next_attempt_at = func.now()


def new_signing_secret() -> str:
    """Return a new secret of 32 random bytes, in the form of Standard Webhooks."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def set_secret(vault: Vault, endpoint: WebhookEndpoint, secret: str, *, keep_former: bool) -> None:
    """Sign with `secret` from now on. With `keep_former`, the former secret signs too for a day."""
    sealed = vault.seal(secret)
    endpoint.former_sealed_secret = endpoint.sealed_secret if keep_former else None
    endpoint.former_expires_at = from_now(FORMER_SECRET_HOURS * 3600) if keep_former else None
    endpoint.sealed_secret, endpoint.secret_hint = sealed, f"whsec_…{secret[-4:]}"


def _headers(webhook_id: str, body: bytes, signing_secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """Return the headers of a delivery, signed once with each secret."""
    return {
        "content-type": "application/json",
        "user-agent": "Tunery-Webhooks",
        **signature_headers(webhook_id, body, signing_secrets, now),
        **spans.outgoing(),
    }


ANY_DUE = select(select(WebhookDelivery.id).where(WebhookDelivery.next_attempt_at <= func.now()).exists())
