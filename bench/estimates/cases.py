"""The jobs whose estimates are compared, on three base models, of which two are random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from core.catalog import SMOLLM2, BaseModelEntry, Precision
from core.estimates.measures import Recompute
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.registry import AdapterOptions
from core.methods.whole import FullTuning


@dataclass(frozen=True)
class Base:
    """A base model, and its configuration if its weights are random."""

    name: str
    random: dict[str, Any] | None = None

    @property
    def identifier(self) -> str:
        """The name as an id in a catalog."""
        return self.name.lower().replace(" ", "-")

    @property
    def folder(self) -> str:
        return self.name.replace(" ", "-")

    def entry(self, folder: Any) -> BaseModelEntry:
        if self.random is None:
            return SMOLLM2
        return BaseModelEntry(
            id=self.identifier,
            repository=f"example/{self.identifier}",
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
    """The setting of what the backward pass computes again; None leaves it to the plan"""
    name: str = ""
    lanes: int = 1
    steps_per_epoch: int = 6
    epochs: int = 1

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    def __str__(self) -> str:
        again = f", {self.recompute} again" if self.recompute else ""
        lanes = f", {self.lanes} lanes" if self.lanes > 1 else ""
        shortest, longest = self.lengths
        rows = f"{self.batch_size} rows of {shortest} to {longest}"
        what = f"{self.base.name}, {self.name or _title(self.adapter)}, {self.precision}, {rows}{again}"
        return f"{what}{lanes}, {self.steps} steps"

    @property
    def base_in_precision(self) -> str:
        """The base model as it is held: past jobs on it tell how fast the next one is."""
        return f"{self.base.name}, {self.precision}"


def _title(adapter: AdapterOptions) -> str:
    rank = getattr(adapter, "r", None) or getattr(adapter, "init_r", None)
    return f"{adapter.type} r={rank}" if rank else adapter.type


SMALL = Base("SmolLM2 135M")
HALF = Base(
    "Llama 0.5 B",
    {
        "num_hidden_layers": 24,
        "hidden_size": 1024,
        "intermediate_size": 4608,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "vocab_size": 64000,
        "tie_word_embeddings": True,
    },
)
LARGE = Base(
    "Llama 1.5 B",
    {
        "num_hidden_layers": 28,
        "hidden_size": 1792,
        "intermediate_size": 7680,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 64000,
        "tie_word_embeddings": True,
    },
)
R8, R16, R64 = LoraAdapter(r=8), LoraAdapter(r=16), LoraAdapter(r=64, lora_alpha=64)
DORA, PISSA = LoraAdapter(r=16, use_dora=True), LoraAdapter(r=16, init_lora_weights="pissa_niter_4")
ATTENTION = LoraAdapter(r=16, target_modules=["q_proj", "v_proj"])

CASES = [
    Case(SMALL, R16, (40, 120), 3),
    Case(SMALL, R16, (20, 60), 8),
    Case(SMALL, R16, (200, 300), 1),
    Case(SMALL, R8, (60, 120), 3),
    Case(SMALL, R64, (60, 120), 3),
    Case(SMALL, LoraAdapter(r=256, lora_alpha=256), (60, 120), 2),
    Case(SMALL, LoraAdapter(r=16, lora_dropout=0.1), (60, 120), 3, name="lora r=16 with dropout"),
    Case(SMALL, LoraAdapter(r=16, dynamic_rank=True), (60, 120), 3, name="DyLoRA r=16"),
    Case(SMALL, DORA, (60, 120), 3, name="DoRA r=16"),
    Case(SMALL, AdaLoraAdapter(init_r=12, target_r=8, tinit=1, tfinal=1), (60, 120), 3),
    Case(SMALL, ATTENTION, (60, 120), 3, name="lora r=16 of q and v"),
    Case(SMALL, R16, (200, 300), 1, recompute=Recompute.GATE_UP),
    Case(SMALL, R16, (200, 300), 1, recompute=Recompute.LAYERS),
    Case(SMALL, FullTuning(), (40, 60), 2),
    Case(SMALL, R16, (900, 1024), 1),
    Case(HALF, R16, (40, 80), 2),
    Case(HALF, R16, (100, 120), 1),
    Case(HALF, R64, (40, 80), 2),
    Case(HALF, DORA, (40, 80), 2, name="DoRA r=16"),
    Case(HALF, ATTENTION, (40, 80), 2, name="lora r=16 of q and v"),
    Case(HALF, R16, (100, 120), 1, recompute=Recompute.GATE_UP),
    Case(HALF, R16, (100, 120), 1, recompute=Recompute.LAYERS),
    Case(SMALL, R16, (60, 120), 2, "nf4"),
    Case(SMALL, R64, (40, 80), 3, "nf4"),
    Case(SMALL, R16, (60, 120), 2, "int8"),
    Case(LARGE, R16, (40, 60), 1),
    Case(LARGE, R64, (40, 60), 1),
    Case(LARGE, R16, (40, 60), 1, recompute=Recompute.LAYERS),
    Case(HALF, R16, (40, 80), 2, "nf4"),
    Case(HALF, R64, (40, 80), 1, "nf4"),
    Case(SMALL, PISSA, (60, 120), 3, name="PiSSA r=16"),
    Case(SMALL, R16, (1800, 2048), 1),
    Case(SMALL, R16, (40, 120), 3, lanes=2),
    Case(SMALL, R64, (200, 300), 1, lanes=2),
    Case(SMALL, R64, (40, 80), 2, "int8"),
]
"""Short jobs, whose memory is compared."""

LONG = [
    replace(case, steps_per_epoch=20, epochs=3)
    for case in (
        Case(SMALL, R16, (20, 60), 3),
        Case(SMALL, R64, (60, 120), 1),
        Case(HALF, R16, (20, 40), 1),
        Case(SMALL, R16, (20, 60), 2, "nf4"),
        Case(SMALL, R16, (20, 60), 2, "int8"),
        Case(HALF, R64, (20, 60), 1),
        Case(SMALL, R64, (40, 80), 1, "nf4"),
        Case(SMALL, R64, (40, 80), 1, "int8"),
        Case(LARGE, R16, (16, 24), 1),
        Case(SMALL, DORA, (20, 60), 3, name="DoRA r=16"),
        Case(SMALL, ATTENTION, (20, 60), 3, name="lora r=16 of q and v"),
        Case(SMALL, R16, (100, 120), 1, recompute=Recompute.LAYERS),
        Case(LARGE, R64, (16, 24), 1),
        Case(SMALL, R16, (200, 300), 1),
    )
]
"""Jobs that are long enough to compare times too, and that fill the cache of oneDNN's code."""
