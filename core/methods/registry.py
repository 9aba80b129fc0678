"""All methods by their type, whether they are on offer or not."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from core.methods import low_rank, products, prompts, rotations, sparse, vectors, whole
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.method import Method
from core.methods.products import LohaAdapter, LokrAdapter, MissAdapter, RandLoraAdapter
from core.methods.prompts import PrefixTuningAdapter, PromptTuningAdapter, PTuningAdapter
from core.methods.rotations import BoftAdapter, HraAdapter, OftAdapter
from core.methods.sparse import C3aAdapter, FourierAdapter, ShiraAdapter
from core.methods.vectors import Ia3Adapter, LnTuningAdapter, TrainableTokensAdapter, VeraAdapter
from core.methods.whole import FullTuning

FAMILIES = (low_rank, prompts, vectors, rotations, products, sparse, whole)
METHODS: dict[str, Method] = {method.type: method for family in FAMILIES for method in family.METHODS}


def with_type(adapter: Any) -> Any:
    """An adapter that names no type is LoRA's, as it was before there were others."""
    return {"type": "lora", **adapter} if isinstance(adapter, dict) else adapter


Adapter = Annotated[
    LoraAdapter
    | AdaLoraAdapter
    | PrefixTuningAdapter
    | PromptTuningAdapter
    | PTuningAdapter
    | Ia3Adapter
    | VeraAdapter
    | LnTuningAdapter
    | TrainableTokensAdapter
    | OftAdapter
    | BoftAdapter
    | HraAdapter
    | LohaAdapter
    | LokrAdapter
    | MissAdapter
    | RandLoraAdapter
    | FourierAdapter
    | C3aAdapter
    | ShiraAdapter
    | FullTuning,
    Field(discriminator="type"),
    BeforeValidator(with_type),
]
"""The options of any method, told apart by `type`."""
