"""The tables of the database, as classes of SQLAlchemy. `migrations/` creates them.

API, command line and worker all use them.
"""

from core.tables.aliases import Alias, AliasMove
from core.tables.audit import AuditLog
from core.tables.base import Base
from core.tables.candidates import Candidate, CandidateMetric
from core.tables.chat_usage import ChatUsage
from core.tables.completions import CompletionBytes, StoredCompletion
from core.tables.files import File
from core.tables.idempotency import IdempotencyRecord
from core.tables.jobs import Job, JobNames, Run
from core.tables.metric_extremes import MetricExtremes
from core.tables.projects import ApiKey, Project
from core.tables.secrets import Secret
from core.tables.servers import Server
from core.tables.sign_ins import SignIn
from core.tables.store_walks import StoreWalk
from core.tables.tasks import Task
from core.tables.tracking import Tracker
from core.tables.training import Adapter, Checkpoint, CheckpointPermission, Event, Metric
from core.tables.uploads import Upload, UploadPart
from core.tables.usage import UsageDay
from core.tables.webhooks import WebhookDelivery, WebhookEndpoint
from core.tables.workers import Worker

__all__ = [
    "Adapter",
    "Alias",
    "AliasMove",
    "ApiKey",
    "AuditLog",
    "Base",
    "Candidate",
    "CandidateMetric",
    "ChatUsage",
    "Checkpoint",
    "CheckpointPermission",
    "CompletionBytes",
    "Event",
    "File",
    "IdempotencyRecord",
    "Job",
    "JobNames",
    "Metric",
    "MetricExtremes",
    "Project",
    "Run",
    "Secret",
    "Server",
    "SignIn",
    "StoreWalk",
    "StoredCompletion",
    "Task",
    "Tracker",
    "Upload",
    "UploadPart",
    "UsageDay",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Worker",
]
