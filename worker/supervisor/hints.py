"""The Celery task: a message wakes the trainer, which finds its work in the database."""

from celery import Celery

from core.jobs.dispatch import TASK
from worker.supervisor.supervisor import Supervisor


def register_hint(app: Celery, supervisor: Supervisor) -> None:
    """Register the Celery task that wakes the supervisor's trainer."""

    @app.task(name=TASK, ignore_result=True)
    def train() -> None:
        """Wake the trainer: jobs may wait. The database says which."""
        supervisor.wake()
