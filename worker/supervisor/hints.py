"""The Celery task: a message wakes the trainer, which finds its work in the database."""

from typing import Any

from celery import Celery

from core.jobs.dispatch import TASK
from core.tracing import spans
from worker.supervisor.supervisor import Supervisor


def register_hint(app: Celery, supervisor: Supervisor) -> None:
    """Register the Celery task that wakes the supervisor's trainer."""

    @app.task(name=TASK, ignore_result=True, bind=True)
    def train(task: Any) -> None:
        """Wake the trainer: jobs may wait. The database says which."""
        with spans.within(task.request.get("traceparent")), spans.child("hint.wake", kind="consumer"):
            supervisor.wake()
