"""Sends webhooks, from a thread of the supervising process."""

from concurrent.futures import Future, ThreadPoolExecutor

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core import webhooks
from core.database import reading
from core.egress import Egress
from core.monitoring import declared
from core.process.failpoints import reached
from core.secrets.vault import UnreadableSecret, Vault
from core.tracing import spans
from core.webhooks import Message, Outcome
from worker.process.periodic import Periodic
from worker.process.recorder import recorder

POLL_SECONDS = 1.0

# Deliveries that are sent at once, at most one to each endpoint. A slow endpoint delays no other endpoint,
# and the slow endpoints of one project leave most threads to other projects.
MAX_CONCURRENT = 32
MAX_PER_PROJECT = 8

log = structlog.get_logger()


class WebhookSender(Periodic):
    """Takes due deliveries from the database and sends them. Several workers share the deliveries."""

    def __init__(self, sessions: sessionmaker[Session], vault: Vault, egress: Egress) -> None:
        super().__init__("webhooks", POLL_SECONDS, self._send_due)
        self._sessions, self._reading = sessions, reading(sessions)
        self._vault = vault
        self._egress = egress
        self._at_work: list[tuple[Message, Future[None]]] = []
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT, thread_name_prefix="webhook")

    def stop(self) -> None:
        """Take no more deliveries, and finish those that are being sent."""
        super().stop()
        self.join()
        self._threads.shutdown()

    def _send_due(self) -> None:
        self._at_work = [(message, sent) for message, sent in self._at_work if not sent.done()]
        busy = [message for message, _ in self._at_work]
        with self._reading() as session:
            if not webhooks.any_due(session):
                return
        with self._sessions.begin() as session:
            messages = webhooks.claim_due(session, MAX_CONCURRENT - len(busy), MAX_PER_PROJECT, busy)
        if messages:
            reached("webhook.claimed")
        self._at_work += [(message, self._threads.submit(self._deliver, message)) for message in messages]

    def _deliver(self, message: Message) -> None:
        known = {"tunery.webhook.id": message.delivery_id, "tunery.webhook.attempt": message.attempt}
        with spans.begin("webhook.send", known, parent=message.traceparent, kind="producer") as span:
            outcome = self._send(message)
            if outcome.response_code is not None:
                span.set({"http.response.status_code": outcome.response_code})
            if not outcome.delivered:
                span.fail("not_delivered")
            self._record(message, outcome)

    def _record(self, message: Message, outcome: Outcome) -> None:
        reached("webhook.sent")
        recorder.count(declared.WEBHOOK_ATTEMPTS, outcome="delivered" if outcome.delivered else "failed")
        log.info(
            "webhook_sent",
            delivery=message.delivery_id,
            attempt=message.attempt,
            status=outcome.response_code,
            error=outcome.error,
        )
        try:
            with self._sessions.begin() as session:
                webhooks.record_attempt(session, message, outcome)
        except SQLAlchemyError as error:  # it will be sent again: a webhook is delivered at least once
            log.warning("webhook_not_recorded", delivery=message.delivery_id, error=str(error))

    def _send(self, message: Message) -> Outcome:
        try:
            secrets = [self._vault.open(sealed) for sealed in message.sealed_secrets]
            return webhooks.send(self._egress, message.url, message.payload, secrets, message.claimed_at)
        except UnreadableSecret as error:
            return Outcome(None, str(error))
        except Exception as error:  # counts as a failed attempt, so that our own faults are delayed too
            log.error("webhook_broke", delivery=message.delivery_id, exc_info=error)
            return Outcome(None, "the sender had an unexpected error, which is in its log")
