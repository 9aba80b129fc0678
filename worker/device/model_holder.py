"""The base model that a device holds: a newly loaded model replaces the model before it."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import torch

from core.catalog import BaseModelEntry, Precision, offered_models
from core.errors import JobError
from core.estimates.adapters import Shapes, StateBytes, ranks_of, state_bytes
from core.estimates.peft_modules import Beside, beside_of
from core.estimates.shapes import Load
from core.jobs.spec import JobSpec
from core.methods.low_rank import LoraAdapter
from core.settings import Settings
from worker.base_models.model_store import ensure_model, load_errors_explained
from worker.base_models.telling import Tell, untold
from worker.device.load_progress import LoadProgress
from worker.engine.adapters.shapes import adaptable_shapes
from worker.engine.base.base_model import ResidentBase
from worker.engine.device.free_memory import collect_garbage


@dataclass(frozen=True)
class FoundModel:
    """A base model on this machine's disk, and whether a job wants it sharded over the processes."""

    entry: BaseModelEntry
    folder: Path
    source_sha256: str
    sharded: bool


class ModelHolder:
    """Holds the base model that is resident on this process's device, if any."""

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self.device = device
        self._catalog = offered_models(settings)
        self._models_folder = settings.models_folder
        self._base: ResidentBase | None = None
        self._shapes: Shapes = {}
        self.loading: LoadProgress | None = None
        """How far the present load has come. May be read from any thread."""

    @property
    def base(self) -> ResidentBase:
        """The resident base model; there must be one."""
        assert self._base is not None
        return self._base

    @property
    def entry(self) -> BaseModelEntry | None:
        """The resident base model, in the precision that it is held in, or None."""
        return self._base.entry if self._base else None

    @property
    def resident(self) -> str | None:
        """The id of the resident base model, or None. May be read from any thread."""
        base = self._base
        return base.entry.id if base else None

    def holds(self, spec: JobSpec) -> bool:
        """Return whether a job of `spec` trains on the resident base model as it is.

        It may be whole or sharded, and is in one precision.
        """
        base, entry = self._base, self._catalog.get(spec.base_model)
        if base is None or entry is None:
            return False
        wanted = entry.in_precision(spec.training.quantization)
        return base.entry.computes_like(wanted) and base.sharded == spec.sharded

    def find(self, model_id: str, sharded: bool = False, precision: Precision | None = None) -> FoundModel:
        """Return the base model on the disk, and fetch it if it is missing. May be called from any thread.

        None is the catalog's own precision. Raises JobError, and OutsideFault if it cannot be fetched.
        """
        entry = self._entry(model_id).in_precision(precision)
        return FoundModel(entry, *ensure_model(entry, self._models_folder), sharded)

    def load(self, found: FoundModel, tell: Tell = untold) -> None:
        """Make `found` the resident base model. No job may be attached to the old one. Raises JobError.

        `tell` hears now and then how many bytes have been read, and of how many.
        """
        self.clear()  # first, so that the device never holds both
        self.loading = LoadProgress(found.entry.id, tell)
        try:
            with load_errors_explained(found.entry):
                base = ResidentBase(
                    found.entry,
                    found.folder,
                    found.source_sha256,
                    self.device,
                    found.sharded,
                    self.loading,
                    self._models_folder,
                )
                base.compute_as_declared()
        finally:
            self.loading = None
        self.hold(base)

    def hold(self, base: ResidentBase) -> None:
        """Make a loaded base model the resident one."""
        self._base = base
        self._shapes = adaptable_shapes(base.model, base.decoder)

    def clear(self) -> None:
        """Free the base model, even if cycles of references in its modules or in the last jobs hold it."""
        self._base = None
        collect_garbage(self.device)

    def state_bytes(self, spec: JobSpec, candidates: Collection[int] | None = None) -> int:
        """Return the bytes that a job of `spec` takes beside the resident base model.

        `candidates` are the numbers of the candidates to count; None counts all. The result is 0 for a job
        that trains alone, because it shares the budget with no other job.
        """
        if spec.trains_alone:
            return 0
        return sum(
            self._state(candidate).with_moments(in_eight_bits=spec.training.has_eight_bit_moments).total
            for number, candidate in enumerate(spec.candidates)
            if candidates is None or number in candidates
        )

    def predicts(self, spec: JobSpec) -> bool:
        """Return whether `load_of` says what a job puts on the base model: LoRA, and some whole modules."""
        return not spec.trains_alone or self._beside(spec) is not None

    def load_of(self, spec: JobSpec, longest_row: int) -> Load:
        """Return what a job without a search, or one candidate, puts on the base model and its device.

        It must be one that is predicted.
        """
        budget, adapter, beside = self.base.budget, spec.low_rank, self._beside(spec)
        layers = budget.model.layers if budget.model else 1
        load = Load(
            state=self._state(spec),
            longest_row=longest_row,
            device=budget.device,
            lanes=1 if beside else budget.lanes,
            ranks=ceil(ranks_of(self._shapes, [adapter]) / layers),
            gains=isinstance(adapter, LoraAdapter) and adapter.use_dora,
        )
        load = beside.added_to(load) if beside else load
        in_eight_bits = spec.training.has_eight_bit_moments
        return replace(load, state=load.state.with_moments(in_eight_bits=in_eight_bits))

    def _beside(self, spec: JobSpec) -> Beside | None:
        model = self.base.budget.model
        return beside_of(model, spec.adapter) if model and isinstance(spec.adapter, LoraAdapter) else None

    def _state(self, spec: JobSpec) -> StateBytes:
        """Return the bytes of A and B, with moments in fp32."""
        lanes = 1 if spec.trains_alone else self.base.lanes.count
        return state_bytes(self._shapes, spec.low_rank, self.base.dtype.itemsize, lanes)

    def _entry(self, model_id: str) -> BaseModelEntry:
        entry = self._catalog.get(model_id)
        if entry is None:
            raise JobError("model_unavailable", f"This worker's catalog has no model {model_id}.", "model")
        return entry
