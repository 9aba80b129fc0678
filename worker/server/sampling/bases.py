"""Gives a server its base models, and says when it may compute on their device."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch

from core.catalog import BaseModelEntry
from core.settings import Settings
from worker.base_models.model_store import ensure_model, load_errors_explained
from worker.device.load_progress import LoadProgress
from worker.device.time_slices import TimeSlices
from worker.engine.base.base_model import ResidentBase, choose_device
from worker.engine.device.health import check_device


class Bases(Protocol):
    """Gives base models, one at a time. `worker/device/lending.py` lends those of a trainer."""

    slices: TimeSlices

    @property
    def device(self) -> torch.device: ...

    @property
    def loading(self) -> LoadProgress | None:
        """How far the present load has come. May be read from any thread."""

    def get(self, entry: BaseModelEntry, asked_back: Callable[[], object]) -> ResidentBase:
        """Return the base model. If `asked_back` is called, `give_back` must follow soon."""

    def give_back(self) -> None:
        """Say that nothing refers to the base model any more."""

    def undisturbed(self) -> AbstractContextManager[object]:
        """Return the context for work that changes torch's global state."""


class OwnBases:
    """Base models that a server loads for itself, on a device on which its process does not train."""

    def __init__(self, settings: Settings) -> None:
        self.device = choose_device(settings.device)
        self.slices = TimeSlices()
        self.loading: LoadProgress | None = None
        self._models_folder = settings.models_folder

    def get(self, entry: BaseModelEntry, asked_back: Callable[[], object]) -> ResidentBase:  # noqa: ARG002
        """Load the base model, fetched if it is not on the disk. Raises JobError and OutsideFault."""
        check_device(self.device)
        self.loading = LoadProgress(entry.id)
        try:
            folder, sha256 = ensure_model(entry, self._models_folder)
            with load_errors_explained(entry):
                return ResidentBase(
                    entry, folder, sha256, self.device, tell=self.loading, models=self._models_folder
                )
        finally:
            self.loading = None

    def give_back(self) -> None:
        """Do nothing: the memory is free once nothing refers to the base model."""

    def undisturbed(self) -> AbstractContextManager[object]:
        return nullcontext()
