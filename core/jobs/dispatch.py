"""Celery messages that wake workers, one queue for each device class.

A message is only a hint. If it is lost or arrives twice, no job is lost, since every worker also scans for
jobs.
"""

import threading
from collections import deque

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from core.tracing import spans

TASK = "tunery.train"
MAX_SENDERS = 2

log = structlog.get_logger()


def queue_for(devices: int) -> str:
    """Return the name of the queue on which the workers of a device class listen."""
    return f"train-{devices}"


def create_celery(broker_url: str) -> Celery:
    """Return the Celery app of API and worker.

    A worker acknowledges a message before it handles it. If the worker dies in between, the hint is lost, but
    a scan finds the job.
    """
    app = Celery("tunery", broker=broker_url)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=False,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_connect_timeout": 1,
            "socket_timeout": 5,
            "socket_keepalive": True,
            "max_retries": 1,  # for sending a message; a worker that receives retries without end
            "interval_start": 0,
        },
    )
    return app


class HintSender:
    """Sends hints: each wakes one worker of a device class, whichever it is. To be called after the commit.

    A broker that hangs holds up whoever sends for several seconds. So only a few threads send, and the other
    callers leave their messages to them. Otherwise the requests of a few seconds would take all of the
    API's threads.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._due: deque[tuple[int, str | None]] = deque()  # with the traces of those who have left them
        self._senders = 0
        self._lock = threading.Lock()

    def send(self, devices: int) -> None:
        """Send the message. This never raises an error: if no message arrives, a scan finds the job."""
        with self._lock:
            self._due.append((devices, spans.current().traceparent))
            if self._senders == MAX_SENDERS:
                return
            self._senders += 1
        try:
            while (due := self._next()) is not None:
                self._send(*due)
        except BaseException:
            with self._lock:
                self._senders -= 1
            raise

    def _next(self) -> tuple[int, str | None] | None:
        """Take a message that is due. If there is none, return None: the caller does not send any more."""
        with self._lock:
            if self._due:
                return self._due.popleft()
            self._senders -= 1
            return None

    def _send(self, devices: int, traceparent: str | None) -> None:
        with (
            spans.within(traceparent),
            spans.child("hint.send", {"tunery.devices": devices}, "producer") as span,
        ):
            try:
                self._app.send_task(
                    TASK, queue=queue_for(devices), ignore_result=True, expires=3600, headers=spans.outgoing()
                )
            except (OperationalError, RedisError, OSError) as error:
                span.fail("broker_unreachable")
                log.warning("broker_unreachable", devices=devices, error=str(error))
                with self._lock:
                    self._due.clear()  # these would wait as long, and fail too

    def check(self) -> None:
        """Raise an error of the broker's client if the broker does not answer."""
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
