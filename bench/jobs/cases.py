"""Lists the cases of `methods.py`: all available methods, variants of LoRA, and quantised bases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from core.catalog import SMOLLM2, BaseModelEntry
from core.methods.registry import METHODS, AdapterOptions

Quantization = Literal["nf4", "int8"]

# Options of the methods whose defaults do not fit this base model. Its layers are 576 x 192, 576 x 576 and
# 576 x 1536; the two tokens are the markers of its chat template.
OPTIONS: dict[str, dict[str, Any]] = {
    "c3a": {"block_size": 64},
    "vblora": {"vector_length": 64},
    "trainable_tokens": {"token_indices": [1, 2]},
}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora-rslora": ("LoRA (rsLoRA)", {"use_rslora": True}),
    "lora-pissa": ("LoRA (PiSSA)", {"init_lora_weights": "pissa"}),
    "lora-olora": ("LoRA (OLoRA)", {"init_lora_weights": "olora"}),
    "lora-dora": ("LoRA (DoRA)", {"use_dora": True}),
    "lora-eva": ("LoRA (EVA)", {"init_lora_weights": "eva"}),
    "lora-corda": ("LoRA (CorDA)", {"init_lora_weights": "corda"}),
}


@dataclass(frozen=True)
class Case:
    """A row of the table. Its results are the file `name`.json.

    The base model answers alone if `adapter` is None. A `learning_rate` of None is the method's usual one.
    """

    name: str
    title: str
    adapter: dict[str, Any] | None
    quantization: Quantization | None = None
    learning_rate: float | None = None

    @property
    def base(self) -> BaseModelEntry:
        """The base model under the same id in every precision, since each case has a service of its own."""
        return SMOLLM2.model_copy(update={"quantization": self.quantization})


BASE_ALONE = Case("base", "(base model alone)", None)


def cases() -> list[Case]:
    """Return all cases in the order of the table. A newly available method is included by itself."""
    return [BASE_ALONE, *_methods(), *_variants(), *_quantised()]


def is_on_offer(adapter: dict[str, Any]) -> bool:
    """Return whether the API accepts the adapter."""
    try:
        TypeAdapter(AdapterOptions).validate_python(adapter)
    except ValidationError:
        return False
    return True


def _methods() -> Iterator[Case]:
    for name in METHODS:
        yield Case(name, METHODS[name].title, {"type": name, **OPTIONS.get(name, {})})


def _variants() -> Iterator[Case]:
    for name, (title, options) in VARIANTS.items():
        adapter = {"type": "lora", **options}
        if is_on_offer(adapter):
            yield Case(name, title, adapter)


def _quantised() -> Iterator[Case]:
    yield Case("lora-nf4", "LoRA on nf4 (QLoRA)", {"type": "lora"}, "nf4")
    yield Case("lora-int8", "LoRA on int8", {"type": "lora"}, "int8")
