"""`tunery worker`: a Celery worker whose one thread supervises the trainer of one device."""

from celery import signals

from core.database import create_database, session_factory
from core.dispatch import QUEUE, create_celery
from core.logs import configure_logs
from core.settings import Settings
from worker.supervisor import Supervisor
from worker.tasks import register_tasks


def run_worker(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then give running jobs back. Raises ConfigurationError."""
    configure_logs(settings.log_level, settings.log_json)
    sessions = session_factory(create_database(settings.server("database_url"), pool_size=2))
    app = create_celery(settings.server("broker_url"))
    supervisor = Supervisor(settings, sessions)
    register_tasks(app, supervisor)
    supervisor.start()
    signals.setup_logging.connect(_leave_logs_alone)
    try:
        app.worker_main(
            [
                "--quiet",  # no banner: it is no line of the log
                "worker",
                "--pool=threads",
                "--concurrency=1",
                f"--queues={QUEUE}",
                f"--loglevel={settings.log_level.upper()}",
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
            ]
        )
    finally:
        supervisor.stop()


def _leave_logs_alone(**_: object) -> None:
    """Celery logs through our handler, in our form, where somebody listens to this signal."""
