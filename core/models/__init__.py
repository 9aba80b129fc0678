"""The tables, which migrations/ creates."""

from core.models.base import Base
from core.models.files import File
from core.models.jobs import Job, Run
from core.models.projects import ApiKey, Project
from core.models.training import Adapter, Checkpoint, Event, Metric

__all__ = ["Adapter", "ApiKey", "Base", "Checkpoint", "Event", "File", "Job", "Metric", "Project", "Run"]
