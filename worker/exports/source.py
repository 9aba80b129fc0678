"""The adapter that is exported: its files, its base model, and what is known of both."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from core.catalog import BaseModelEntry, load_catalog
from core.errors import JobError
from core.methods.registry import METHODS
from core.storage.artifacts import DamagedArtifact, fetch_folder
from core.tables import Adapter, Job
from worker.base_models.model_store import ensure_model, load_errors_explained
from worker.process.scratch import scratch_folder
from worker.tasks.process import Work

Model = Any  # a model of transformers, which has no types of its own


@dataclass(frozen=True)
class Source:
    """An adapter with its files in `folder`, and its base model in `base_folder`."""

    adapter_id: str
    model: str
    type: str
    entry: BaseModelEntry
    folder: Path
    base_folder: Path

    @property
    def is_whole_model(self) -> bool:
        """Whether the job trained every weight, so that the files are a model and no adapter."""
        method = METHODS.get(self.type)
        return method is not None and method.result == "model"

    @property
    def config(self) -> Any:
        """The configuration of the base model."""
        return AutoConfig.from_pretrained(self.base_folder)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that was published with the adapter."""
        return AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)

    def load_base(self) -> Model:
        """Return the base model in fp32. Raises JobError."""
        with load_errors_explained(self.entry):
            return _load(self.base_folder)

    def load_whole_model(self) -> Model:
        """Return the published model in fp32, where the job trained every weight."""
        return _load(self.folder)


@contextmanager
def open_source(work: Work) -> Iterator[Source]:
    """Fetch the task's adapter and its base model. Raises JobError if either is damaged or not on offer."""
    with work.sessions() as session:
        adapter = session.get_one(Adapter, work.task.adapter_id)
        job = session.get(Job, adapter.job_id) if adapter.job_id else None  # imported ones have none
    base_model = job.base_model if job else adapter.base_model or ""
    entry = load_catalog(work.settings.catalog_file).get(base_model)
    if entry is None:
        raise JobError("model_unavailable", f"The base model {base_model} is not on offer any more.")
    work.report("loading the base model", 0.0)
    base_folder, _ = ensure_model(entry, work.settings.models_folder)
    work.report("fetching the adapter", 0.1)
    with scratch_folder("adapter") as folder:
        try:
            fetch_folder(work.store, adapter.object_prefix, adapter.files, folder)
        except DamagedArtifact as error:
            raise JobError("adapter_damaged", f"The adapter's files are damaged: {error}.") from error
        model = (job.fine_tuned_model if job else adapter.model) or adapter.id
        options = job.spec["adapter"] if job else adapter.options or {}
        yield Source(adapter.id, model, options["type"], entry, folder, base_folder)


def _load(folder: Path) -> Model:
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    return model.eval().requires_grad_(False)
