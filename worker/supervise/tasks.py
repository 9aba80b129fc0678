"""The Celery tasks: a message wakes the trainer, which finds its work in the database."""

from celery import Celery

from core.jobs.dispatch import TASK
from worker.supervise.supervisor import Supervisor


def register_tasks(app: Celery, supervisor: Supervisor) -> None:
    @app.task(name=TASK, ignore_result=True)
    def train() -> None:
        """Jobs may wait; the database says which."""
        supervisor.wake()
