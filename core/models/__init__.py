"""The tables, which migrations/ creates."""

from core.models.audit import AuditLog
from core.models.base import Base
from core.models.candidates import Candidate, CandidateMetric
from core.models.files import File
from core.models.idempotency import IdempotencyRecord
from core.models.jobs import Job, Run
from core.models.projects import ApiKey, Project
from core.models.secrets import Secret
from core.models.sign_ins import SignIn
from core.models.tracking import Tracker
from core.models.training import Adapter, Checkpoint, CheckpointPermission, Event, Metric
from core.models.uploads import Upload, UploadPart
from core.models.webhooks import WebhookDelivery, WebhookEndpoint
from core.models.workers import Worker

__all__ = [
    "Adapter",
    "ApiKey",
    "AuditLog",
    "Base",
    "Candidate",
    "CandidateMetric",
    "Checkpoint",
    "CheckpointPermission",
    "Event",
    "File",
    "IdempotencyRecord",
    "Job",
    "Metric",
    "Project",
    "Run",
    "Secret",
    "SignIn",
    "Tracker",
    "Upload",
    "UploadPart",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Worker",
]
