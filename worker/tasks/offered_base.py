"""The base model that a task is about, from the catalog and on the disk."""

from pathlib import Path
from typing import NamedTuple

from core.catalog import BaseModelEntry, offered_models
from core.errors import JobError
from core.jobs import lifecycle
from worker.base_models.model_store import ensure_model
from worker.tasks.frame.work import Work


class OfferedBase(NamedTuple):
    """A base model of the catalog: its folder on the disk, and the hash of its weights."""

    entry: BaseModelEntry
    folder: Path
    sha256: str


def offered_base(work: Work, base_model: str) -> OfferedBase:
    """Return a base model, and fetch it if it is not on the disk. Raises JobError if it is not on offer."""
    entry = offered_models(work.settings).get(base_model)
    if entry is None:
        raise JobError("model_unavailable", f"The base model {base_model} is not on offer any more.")
    work.progress(lifecycle.LOADING, 0.0)
    return OfferedBase(entry, *ensure_model(entry, work.settings.models_folder, work.advance))
