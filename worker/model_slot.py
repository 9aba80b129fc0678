"""The device's one place for a base model: loads the one that is asked for, in place of another."""

import torch

from core.catalog import BaseModelEntry, load_catalog
from core.errors import JobError
from core.jobspec import JobSpec
from core.settings import Settings
from worker.engine.base_model import ResidentBase, choose_device
from worker.engine.memory import Shapes, projection_shapes, state_bytes
from worker.model_store import ensure_model, loading


class ModelSlot:
    def __init__(self, settings: Settings) -> None:
        self.device: torch.device = choose_device(settings.device)
        self._catalog = load_catalog(settings.catalog_file)
        self._models_folder = settings.models_folder
        self._base: ResidentBase | None = None
        self._shapes: Shapes = {}

    @property
    def base(self) -> ResidentBase:
        """The resident base model; there must be one."""
        assert self._base is not None
        return self._base

    def load(self, model_id: str) -> ResidentBase:
        """Make `model_id` the resident one. No job may be attached to another. Raises JobError."""
        if self._base is None or self._base.entry.id != model_id:
            entry = self._entry(model_id)
            folder, sha256 = ensure_model(entry, self._models_folder)
            self._base = None  # freed before the next one is loaded
            with loading(entry):
                self._base = ResidentBase(entry, folder, sha256, self.device)
            self._shapes = projection_shapes(self._base.model)
        return self._base

    def state_bytes(self, spec: JobSpec) -> int:
        """What a job of `spec` takes beside the resident base model."""
        return state_bytes(self._shapes, spec.adapter, self.base.dtype, self.base.lanes.count)

    def _entry(self, model_id: str) -> BaseModelEntry:
        entry = self._catalog.get(model_id)
        if entry is None:
            raise JobError("model_unavailable", f"This worker's catalog has no model {model_id}.", "model")
        return entry
