"""Adapters of every method, as a job publishes them, with random weights in place of trained ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from pydantic import TypeAdapter

from bench.jobs.cases import cases as cases_of_methods
from bench.portability.bases import Base
from core.jobs.spec import JobSpec, TrainingOptions
from core.methods.registry import AdapterOptions
from core.objectives.hyperparameters import Hyperparameters
from worker.adapter_files.folder import write_tokenizer
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.tasks.export.source import Source

FAR = 0.03  # the standard deviation of what is added to each parameter
# They begin with rows of a dataset or with a quantised base. Their results are plain LoRAs, as in other cases
NOT_MADE = {"base", "lora-eva", "lora-corda", "lora-nf4", "lora-int8"}
PATTERNS = {"use_rslora": True, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 8}}


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    name: str
    title: str
    adapter: dict[str, Any]


def cases() -> Iterator[Case]:
    """Yield every method of docs/methods.md, and the variants of LoRA."""
    for each in cases_of_methods():
        if each.name not in NOT_MADE and each.adapter is not None:
            yield Case(each.name, each.title, each.adapter)
    yield Case("lora-patterns", "LoRA (rsLoRA, own ranks and alphas)", {"type": "lora", **PATTERNS})


def published(base: Base, case: Case, folder: Path) -> Source:
    """Write the adapter into `folder` as a job would publish it."""
    entry = base.entry.model_copy(update={"dtype": "fp32"})
    resident = ResidentBase(entry, base.folder, "", torch.device("cpu"))
    options = TypeAdapter(AdapterOptions).validate_python(case.adapter)
    spec = JobSpec(
        base_model=base.entry.id,
        seed=1,
        hyperparameters=Hyperparameters(n_epochs=1, batch_size=1, learning_rate_multiplier=1.0),
        adapter=options,
        training=TrainingOptions(learning_rate=1e-4),
    )
    adapter = attach(resident, case.name, spec)
    random = torch.Generator().manual_seed(crc32(case.name.encode()))
    with torch.no_grad():
        master = adapter.parameters.master
        master.add_(torch.randn(master.shape, generator=random) * FAR)
    adapter.parameters.refresh()
    adapter.save(folder)
    write_tokenizer(resident.tokenizer, folder)
    stored = options.model_dump(mode="json")
    return Source(f"adapter-{case.name}", case.title, options.type, entry, folder, base.folder, stored)
