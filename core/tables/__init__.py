"""The tables of the database, as classes of SQLAlchemy. `migrations/` creates them.

API, command line and worker all use them.
"""

from core.tables.access.audit import AuditLog
from core.tables.access.idempotency import IdempotencyRecord
from core.tables.access.projects import ApiKey, Project
from core.tables.access.seats import Seat
from core.tables.access.secrets import Secret
from core.tables.access.sign_ins import SignIn
from core.tables.access.usage import UsageDay
from core.tables.artifacts import Artifact
from core.tables.base import Base
from core.tables.chat_templates import ChatTemplate
from core.tables.chats.aliases import Alias, AliasMove
from core.tables.chats.chat_usage import ChatUsage
from core.tables.chats.completions import CompletionBytes, StoredCompletion
from core.tables.chats.servers import Server
from core.tables.files import File, TokenCount
from core.tables.jobs.candidates import Candidate, CandidateMetric
from core.tables.jobs.evals import Eval
from core.tables.jobs.jobs import Claim, Job, JobNames
from core.tables.jobs.metric_extremes import MetricExtremes
from core.tables.jobs.row_losses import RowLoss
from core.tables.jobs.tasks import TASK_STATUSES, Task
from core.tables.jobs.training import Adapter, Checkpoint, CheckpointPermission, Event, Metric
from core.tables.uploads import Upload, UploadPart
from core.tables.webhooks import WebhookDelivery, WebhookEndpoint
from core.tables.workers import Worker

__all__ = [
    "TASK_STATUSES",
    "Adapter",
    "Alias",
    "AliasMove",
    "ApiKey",
    "Artifact",
    "AuditLog",
    "Base",
    "Candidate",
    "CandidateMetric",
    "ChatTemplate",
    "ChatUsage",
    "Checkpoint",
    "CheckpointPermission",
    "Claim",
    "CompletionBytes",
    "Eval",
    "Event",
    "File",
    "IdempotencyRecord",
    "Job",
    "JobNames",
    "Metric",
    "MetricExtremes",
    "Project",
    "RowLoss",
    "Seat",
    "Secret",
    "Server",
    "SignIn",
    "StoredCompletion",
    "Task",
    "TokenCount",
    "Upload",
    "UploadPart",
    "UsageDay",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Worker",
]
