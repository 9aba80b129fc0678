"""`tunery worker`: Celery, and threads for the trainer, tasks, webhooks, chat templates and the janitor."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import structlog
from celery import Celery, signals
from sqlalchemy import Engine

from core.catalog import offered_models
from core.database import create_database, session_factory
from core.egress import Egress
from core.jobs.dispatch import create_celery, queue_for
from core.process.logs import configure_logs
from core.secrets.vault import Vault
from core.serving.token import server_token
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tracing import spans
from worker.process.newer_tables import LOOK_SECONDS, refuse_newer_tables, too_new
from worker.process.periodic import Periodic
from worker.supervisor.chat_templates import SECONDS, TemplateNotes
from worker.supervisor.hints import register_hint
from worker.supervisor.idle_end import IdleEnd, end_this_process
from worker.supervisor.janitor import Janitor
from worker.supervisor.launch import start_trainer
from worker.supervisor.metrics_page import metrics_page
from worker.supervisor.retention import Retention
from worker.supervisor.supervisor import Supervisor
from worker.supervisor.webhooks import WebhookSender
from worker.tasks.export.signing_key import public_key_sha256
from worker.tasks.frame.service import Tasks

log = structlog.get_logger()


def run_worker(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, and then give running jobs back. Raises ConfigurationError."""
    configure_logs(settings.log_level, settings.log_json)
    spans.start("worker")
    if settings.serve_share:
        server_token(settings.secret_keys)  # without a key, nobody could chat with the trainer
    if settings.signing_key_file is not None:
        public_key_sha256(settings.signing_key_file)  # a worker with a wrong key would fail at every export
    with metrics_page(settings) as metrics:
        _serve(settings, metrics)


def _serve(settings: Settings, metrics: Path | None) -> None:
    """Serve until SIGTERM or SIGINT. Trainers write their metrics into the folder `metrics`."""
    engine = create_database(settings.server("database_url"), pool_size=4)
    refuse_newer_tables(engine)
    sessions = session_factory(engine)
    store = ObjectStore(settings.server("s3_endpoint_url"), settings.server("s3_bucket"))
    supervisor = Supervisor(settings, sessions, partial(start_trainer, metrics=metrics), metrics=metrics)
    janitor = Janitor(sessions, store, settings.scan_seconds, Retention.of(settings))
    tables = Periodic("tables", LOOK_SECONDS, partial(_end_on_newer_tables, engine))
    parts: list[Supervisor | Periodic] = [supervisor, janitor, tables]
    if settings.claims_jobs:
        tasks = Tasks.of(settings, sessions)
        sender = WebhookSender(sessions, Vault.of(settings.secret_keys), Egress(settings.egress_allow))
        notes = TemplateNotes(sessions, offered_models(settings), settings.models_folder)
        parts += [
            Periodic("templates", SECONDS, notes.write),
            sender,
            *tasks,
        ]
        if settings.idle_seconds is not None:
            idle_end = IdleEnd(settings.idle_seconds, sessions, supervisor, tasks)
            parts.append(Periodic("idle", settings.scan_seconds, idle_end.look))
    for part in parts:
        part.start()
    signals.setup_logging.connect(_keep_our_logging)
    try:
        if settings.claims_jobs:
            app = create_celery(settings.server("broker_url"))
            register_hint(app, supervisor)
            _serve_wake_messages(app, settings)
        else:  # this trainer follows the trainer of another machine, which gets the messages
            _wait_for_a_signal()
    finally:
        with ThreadPoolExecutor() as pool:  # all at once: each part may take most of the time to stop
            list(pool.map(lambda part: part.stop(), parts))


def _end_on_newer_tables(engine: Engine) -> None:
    if wrong := too_new(engine):
        log.error("tables_too_new", reason=wrong)
        end_this_process()


def _serve_wake_messages(app: Celery, settings: Settings) -> None:
    """Run Celery until SIGTERM or SIGINT. Each message of the queue wakes the trainer."""
    app.worker_main(
        [
            "--quiet",  # no banner: it would not be a line of the log
            "worker",
            "--pool=threads",
            "--concurrency=1",
            f"--queues={queue_for(settings.devices)}",
            f"--loglevel={settings.log_level.upper()}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


def _wait_for_a_signal() -> None:
    stop_requested = threading.Event()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_, lambda *_: stop_requested.set())
    stop_requested.wait()


def _keep_our_logging(**_: object) -> None:
    """Do nothing. Celery does not set up its own logging if a function is connected to this signal."""
