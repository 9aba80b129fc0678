"""`tunery worker`: a Celery worker whose one thread supervises the trainer of one device."""

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
    try:
        app.worker_main(
            [
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
