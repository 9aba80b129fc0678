"""All methods by their type. This release offers and trains them all."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from core.methods import low_rank, products, prompts, rotations, shared, sparse, vectors, weight_aware, whole
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.method import Method, MethodOptions
from core.methods.products import (
    DeloraAdapter,
    GraloraAdapter,
    LohaAdapter,
    LokrAdapter,
    MissAdapter,
    RandLoraAdapter,
)
from core.methods.prompts import PrefixTuningAdapter, PromptTuningAdapter, PTuningAdapter
from core.methods.rotations import BoftAdapter, HraAdapter, OftAdapter, RoadAdapter
from core.methods.shared import TinyLoraAdapter, UniLoraAdapter, VbLoraAdapter
from core.methods.sparse import C3aAdapter, FourierAdapter, ShiraAdapter, SupertuningAdapter, WaveAdapter
from core.methods.vectors import BeftAdapter, Ia3Adapter, LnTuningAdapter, TrainableTokensAdapter, VeraAdapter
from core.methods.weight_aware import DeftAdapter, GloraAdapter, HiraAdapter, PeanutAdapter
from core.methods.whole import FullTuning

FAMILIES = (low_rank, prompts, vectors, rotations, products, weight_aware, shared, sparse, whole)
METHODS: dict[str, Method] = {method.type: method for family in FAMILIES for method in family.METHODS}


def trains_alone(adapter: MethodOptions) -> bool:
    """Return whether a job with these options shares its steps with no other job."""
    beside = isinstance(adapter, LoraAdapter) and adapter.trained_beside is not None
    return beside or METHODS[adapter.type].trains == "alone"


def with_type(adapter: Any) -> Any:
    """Return the adapter with its type. Without a type it is a LoRA."""
    return {"type": "lora", **adapter} if isinstance(adapter, dict) else adapter


OtherThanLora = (
    AdaLoraAdapter
    | PrefixTuningAdapter
    | PromptTuningAdapter
    | PTuningAdapter
    | Ia3Adapter
    | VeraAdapter
    | LnTuningAdapter
    | BeftAdapter
    | TrainableTokensAdapter
    | OftAdapter
    | BoftAdapter
    | HraAdapter
    | RoadAdapter
    | LohaAdapter
    | LokrAdapter
    | MissAdapter
    | RandLoraAdapter
    | GraloraAdapter
    | DeloraAdapter
    | HiraAdapter
    | GloraAdapter
    | PeanutAdapter
    | DeftAdapter
    | VbLoraAdapter
    | UniLoraAdapter
    | TinyLoraAdapter
    | FourierAdapter
    | WaveAdapter
    | C3aAdapter
    | ShiraAdapter
    | SupertuningAdapter
    | FullTuning
)
AdapterOptions = Annotated[
    LoraAdapter | OtherThanLora, Field(discriminator="type"), BeforeValidator(with_type)
]
"""The options of any method. `type` says which method it is."""
