"""The adapter that is exported: its files, its base model, and what is known of both."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from core.catalog import BaseModelEntry
from core.errors import JobError
from core.jobs.adapter_row import AdapterRow
from core.methods.registry import METHODS
from core.storage.file_names import MANIFEST, DamagedFile
from core.storage.folders import fetch_folder
from core.tables import Adapter, Job
from worker.base_models.model_store import load_errors_explained
from worker.engine.base.loading import load_plain
from worker.process.scratch import scratch_folder
from worker.tasks.frame.work import Work
from worker.tasks.offered_base import OfferedBase, offered_base

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
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_whole_model(self) -> bool:
        """Whether the job trained every weight, so that the files are a model and no adapter."""
        method = METHODS.get(self.type)
        return method is not None and method.result == "model"

    def require_plain_base(self) -> None:
        """Raise JobError if the adapter makes up for what its base model lost by quantisation (LoftQ)."""
        if self.options.get("init_lora_weights") == "loftq":
            raise JobError(
                "not_mergeable",
                f"The adapter began with LoftQ, so it belongs to {self.entry.repository} in "
                f"{self.entry.quantization}, and not to the weights as they were published. Export it as "
                "'lora' for the same quantised base model.",
                "format",
            )

    @property
    def config(self) -> Any:
        """The configuration of the base model."""
        return AutoConfig.from_pretrained(self.base_folder)

    @property
    def text_config(self) -> Any:
        """The configuration of the base's text model: a part of it if the base also processes images."""
        return self.config.get_text_config()

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that was published with the adapter."""
        return AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)

    def load_base(self) -> Model:
        """Return the base model in fp32. Raises JobError."""
        with load_errors_explained(self.entry):
            return load_in_fp32(self.base_folder)

    def load_whole_model(self) -> Model:
        """Return the published model in fp32, where the job trained every weight."""
        return load_in_fp32(self.folder)


@contextmanager
def open_source(work: Work) -> Iterator[Source]:
    """Fetch the task's adapter and its base model. Raises JobError if either is damaged or not on offer."""
    with work.sessions() as session:
        adapter = session.get_one(Adapter, work.task.adapter_id)
        row = AdapterRow(adapter, session.get(Job, adapter.job_id) if adapter.job_id else None)
    base = offered_base(work, row.base_model)
    work.progress("fetching the adapter", 0.1)
    with scratch_folder("adapter") as folder:
        try:
            fetch_folder(work.store, adapter.object_prefix, adapter.files, folder, work.advance)
        except DamagedFile as error:
            raise JobError("adapter_damaged", f"The adapter's files are damaged: {error}.") from error
        require_same_base(folder, base)
        entry = base.entry.in_precision(row.precision)
        yield Source(
            adapter.id, row.model, row.options["type"], entry, folder, base.folder, row.published_options
        )


def require_same_base(folder: Path, base: OfferedBase) -> None:
    """Raise JobError if the adapter was trained on other weights than those on this machine's disk.

    Only a published adapter tells its base's weights. A checkpoint, which a composition may take, does not.
    """
    manifest = folder / MANIFEST
    if not manifest.exists():
        return
    trained_on = json.loads(manifest.read_text("utf-8"))["base_sha256"]
    if trained_on != base.sha256:
        raise JobError(
            "base_model_changed",
            f"The adapter was trained on other weights of {base.entry.repository} than those on offer now "
            f"(SHA-256 {trained_on}, now {base.sha256}). Ask the operator to offer the same revision again.",
        )


def load_in_fp32(folder: Path) -> Model:
    """Return the model in a folder, with frozen weights."""
    return load_plain(folder, torch.float32).eval().requires_grad_(False)
