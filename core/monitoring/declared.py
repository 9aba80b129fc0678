"""The list of all service metrics. Nothing else is on the pages, apart from the library's `process_…`.

A label has few values. No label holds an id of a job. Only the metrics of the queue and of quotas name
projects, at most `MOST_PROJECTS` of them.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Program = Literal["api", "database", "worker", "trainer", "server"]

MOST_PROJECTS = 50
OTHERS = "others"  # in the metrics of the queue: all projects beyond these

REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0)
ANSWER_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
SAVE_BUCKETS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
TASK_BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)


class Declared(NamedTuple):
    """One metric: its name with its unit, what it means, and who records it."""

    name: str
    kind: Kind
    program: Program
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# Each process of the API

API_REQUESTS = Declared(
    "tunery_api_requests_total",
    "counter",
    "api",
    "Requests that have ended, by route and by status; status 0 if the client left before the answer began",
    ("method", "route", "status"),
)
API_SECONDS = Declared(
    "tunery_api_request_seconds",
    "histogram",
    "api",
    "Time until the last byte of an answer; streams last as long as their clients listen",
    ("method", "route"),
    REQUEST_BUCKETS,
)
API_ERRORS = Declared(
    "tunery_api_errors_total", "counter", "api", "Requests that ended with an error, by its code", ("code",)
)

# What the database knows. Every API process tells the same, so take the maximum over them, not the sum

DATABASE_READ = Declared(
    "tunery_database_read",
    "gauge",
    "database",
    "1 if the figures of the database could be read for this page, else 0",
)
JOBS_QUEUED = Declared(
    "tunery_jobs_queued",
    "gauge",
    "database",
    "Jobs that wait, by device class and project",
    ("devices", "project"),
)
QUEUE_WAIT = Declared(
    "tunery_queue_oldest_wait_seconds",
    "gauge",
    "database",
    "Time for which the first job in the queue has waited since it was created or given back",
    ("devices", "project"),
)
JOBS_RUNNING = Declared("tunery_jobs_running", "gauge", "database", "Jobs that a trainer holds", ("devices",))
TRAINERS = Declared("tunery_trainers", "gauge", "database", "Trainers that report themselves", ("devices",))
SERVERS = Declared(
    "tunery_servers", "gauge", "database", "Servers that report themselves: serving or draining", ("state",)
)
TASKS_QUEUED = Declared("tunery_tasks_queued", "gauge", "database", "Tasks that wait", ("kind",))
TASKS_RUNNING = Declared("tunery_tasks_running", "gauge", "database", "Tasks that a process does", ("kind",))
TASK_WAIT = Declared(
    "tunery_tasks_oldest_wait_seconds",
    "gauge",
    "database",
    "Time for which the oldest task has waited that may be taken now",
    ("kind",),
)
DELIVERIES_WAITING = Declared(
    "tunery_deliveries_waiting", "gauge", "database", "Webhooks that are not delivered yet"
)
DELIVERIES_WAIT = Declared(
    "tunery_deliveries_oldest_wait_seconds",
    "gauge",
    "database",
    "Age of the oldest webhook that is not delivered yet",
)
STORED = Declared(
    "tunery_stored_bytes",
    "gauge",
    "database",
    "Bytes of the ledger of artifacts, by the kind of their owner; doomed ones are left out",
    ("owner",),
)
QUOTA_USED = Declared(
    "tunery_quota_used_ratio",
    "gauge",
    "database",
    f"Share of a project's quota of stored bytes that is used, of the {MOST_PROJECTS} fullest projects with "
    "a quota; the others are left out",
    ("project",),
)

# The supervising process of a worker

TRAINER_STARTS = Declared(
    "tunery_trainer_starts_total", "counter", "worker", "Trainers that this worker has started"
)
LEASE_LOSSES = Declared(
    "tunery_lease_losses_total",
    "counter",
    "worker",
    "Jobs whose lease ended without their trainer, by what had happened to the trainer",
    ("reason",),
)
WEBHOOK_ATTEMPTS = Declared(
    "tunery_webhook_attempts_total", "counter", "worker", "Webhooks that were sent", ("outcome",)
)
TASK_SECONDS = Declared(
    "tunery_task_process_seconds",
    "histogram",
    "worker",
    "Life of the processes that do tasks, by how they ended: done, gave_back or died",
    ("kind", "outcome"),
    TASK_BUCKETS,
)
DISK = Declared("tunery_disk_bytes", "gauge", "worker", "Size of the disk that holds the folder", ("folder",))
DISK_FREE = Declared(
    "tunery_disk_free_bytes", "gauge", "worker", "Bytes that are free on that disk", ("folder",)
)

# The trainer. Its counters begin at 0 with each new trainer

CLAIMS = Declared("tunery_trainer_claims_total", "counter", "trainer", "Jobs that were claimed")
TOKENS = Declared(
    "tunery_trainer_tokens_total", "counter", "trainer", "Tokens of training rows; its rate is tokens/s"
)
STEPS = Declared("tunery_trainer_steps_total", "counter", "trainer", "Optimizer steps of all adapters")
ROUND_SECONDS = Declared(
    "tunery_trainer_round_seconds_total",
    "counter",
    "trainer",
    "Time in rounds of training; its rate is the share of the time for which the device trains",
)
COHORT = Declared("tunery_trainer_cohort_jobs", "gauge", "trainer", "Jobs that train together")
CHECKPOINT_SECONDS = Declared(
    "tunery_trainer_checkpoint_seconds",
    "histogram",
    "trainer",
    "Time to send a checkpoint to the store and to record it",
    (),
    SAVE_BUCKETS,
)
PUBLICATION_SECONDS = Declared(
    "tunery_trainer_publication_seconds",
    "histogram",
    "trainer",
    "Time to complete, send and record a result",
    (),
    SAVE_BUCKETS,
)
SAVE_FAILURES = Declared(
    "tunery_trainer_save_failures_total",
    "counter",
    "trainer",
    "Checkpoints and publications that failed",
    ("what",),
)
JOB_FAILURES = Declared(
    "tunery_trainer_job_failures_total", "counter", "trainer", "Jobs that have failed, by code", ("code",)
)
REQUEUES = Declared(
    "tunery_trainer_requeues_total",
    "counter",
    "trainer",
    "Jobs that went back to the queue because of a server or a disk",
)
DEVICE_MEMORY = Declared(
    "tunery_device_memory_bytes", "gauge", "trainer", "Memory of the first device, or of the machine"
)
DEVICE_MEMORY_USED = Declared(
    "tunery_device_memory_used_bytes", "gauge", "trainer", "Memory in use there, by any process"
)

# A server

SERVE_OPEN = Declared("tunery_serve_requests", "gauge", "server", "Requests that wait or run")
SERVE_ADAPTERS = Declared("tunery_serve_adapters", "gauge", "server", "Adapters in memory")
SERVE_CACHE = Declared(
    "tunery_serve_cache_share", "gauge", "server", "Share of the pool of keys and values in use, 0 to 1"
)
SERVE_REQUESTS = Declared(
    "tunery_serve_requests_total",
    "counter",
    "server",
    "Requests that have ended; status `none` if the client left before the answer began",
    ("status",),
)
SERVE_ERRORS = Declared(
    "tunery_serve_errors_total",
    "counter",
    "server",
    "Requests that were refused or have failed, by code",
    ("code",),
)
SERVE_TOKENS = Declared(
    "tunery_serve_tokens_total", "counter", "server", "Tokens of prompts and answers", ("kind",)
)
SERVE_CACHED = Declared(
    "tunery_serve_cached_tokens_total",
    "counter",
    "server",
    "Tokens of prompts whose keys and values were in the cache",
)
SERVE_DRAFTS = Declared(
    "tunery_serve_draft_tokens_total",
    "counter",
    "server",
    "Tokens that were guessed and computed: accepted or rejected",
    ("outcome",),
)
SERVE_SECONDS = Declared(
    "tunery_serve_answer_seconds",
    "histogram",
    "server",
    "Time from a request to the end of its answer",
    (),
    ANSWER_BUCKETS,
)


def all_declared() -> Iterator[Declared]:
    """Return every metric of this list, in its order."""
    return (value for value in globals().values() if isinstance(value, Declared))
