"""The jobs whose estimates are compared, on three base models, of which two have random weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.catalog import SMOLLM2, BaseModelEntry, Precision
from core.estimates.memory_plan import Recompute
from core.jobs.spec import JobSpec, TrainingOptions
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.registry import AdapterOptions
from core.methods.whole import FullTuning
from core.objectives.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Base:
    """A base model, and its configuration if its weights are random."""

    name: str
    random: dict[str, Any] | None = None

    def entry(self, folder: Path) -> BaseModelEntry:
        if self.random is None:
            return SMOLLM2
        return BaseModelEntry(
            id=self.name,
            repository=f"example/{self.name}",
            source="folder",
            path=folder,
            revision="main",
            license="none",
            max_length=8192,
            dtype="bf16",
        )


@dataclass(frozen=True)
class Case:
    """One job. Its rows have random lengths between two numbers of tokens."""

    base: Base
    adapter: AdapterOptions
    lengths: tuple[int, int]
    batch_size: int
    precision: Precision = "none"
    recompute: Recompute | None = None
    """What the backward pass computes again; None leaves it to the plan"""
    lanes: int = 1
    steps: int = 6

    def __str__(self) -> str:
        options = self.adapter.model_dump(exclude_defaults=True, exclude={"type"})
        method = " ".join([self.adapter.type, *(f"{name}={value}" for name, value in options.items())])
        shortest, longest = self.lengths
        rows = f"{self.batch_size} rows of {shortest} to {longest}"
        again = f", {self.recompute} again" if self.recompute else ""
        lanes = f", {self.lanes} lanes" if self.lanes > 1 else ""
        return f"{self.base.name}, {method}, {self.precision}, {rows}{again}{lanes}, {self.steps} steps"

    @property
    def spec(self) -> JobSpec:
        source = self.base.entry(Path())
        return JobSpec(
            base_model=source.id,
            seed=1,
            hyperparameters=Hyperparameters(
                n_epochs=1, batch_size=self.batch_size, learning_rate_multiplier=1.0
            ),
            adapter=self.adapter,
            training=TrainingOptions(max_length=source.max_length, quantization=self.precision),
        )


def _llama(layers: int, hidden: int, inner: int, heads: int, key_heads: int) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "vocab_size": 64000,
        "tie_word_embeddings": True,
    }


SMALL = Base("smollm2-135m")
HALF = Base("llama-0.5b", _llama(24, 1024, 4608, 16, 4))
LARGE = Base("llama-1.5b", _llama(28, 1792, 7680, 14, 2))
R16, R64 = LoraAdapter(r=16), LoraAdapter(r=64, lora_alpha=64)
DORA, PISSA = LoraAdapter(r=16, use_dora=True), LoraAdapter(r=16, init_lora_weights="pissa_niter_4")
ATTENTION = LoraAdapter(r=16, target_modules=["q_proj", "v_proj"])
SHORT = [
    Case(SMALL, R16, (20, 60), 8),
    Case(SMALL, R16, (900, 1024), 1),
    Case(SMALL, R64, (60, 120), 3),
    Case(SMALL, R64, (200, 300), 1, lanes=2),
    Case(SMALL, LoraAdapter(r=16, lora_dropout=0.1), (60, 120), 3),
    Case(SMALL, LoraAdapter(r=16, dynamic_rank=True), (60, 120), 3),
    Case(SMALL, DORA, (60, 120), 3),
    Case(SMALL, PISSA, (60, 120), 3),
    Case(SMALL, AdaLoraAdapter(init_r=12, target_r=8, tinit=1, tfinal=1), (60, 120), 3),
    Case(SMALL, ATTENTION, (60, 120), 3),
    Case(SMALL, FullTuning(), (40, 60), 2),
    Case(SMALL, R16, (60, 120), 2, "nf4"),
    Case(SMALL, R16, (60, 120), 2, "int8"),
    Case(HALF, R16, (100, 120), 1),
    Case(HALF, R16, (100, 120), 1, recompute=Recompute.GATE_UP),
    Case(HALF, R64, (40, 80), 1, "nf4"),
    Case(LARGE, R64, (40, 60), 1),
    Case(LARGE, R16, (40, 60), 1, recompute=Recompute.LAYERS),
]
# Jobs of many steps fill the cache of oneDNN's code
CASES = [*SHORT, *(replace(case, steps=60) for case in SHORT[::6])]
