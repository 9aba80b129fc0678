"""Which adapters train on which base models: whole, quantised, or spread over devices by `training.fsdp`.

All of it is known when a job is created, and the API refuses then what does not go. A worker, which may find
a job of an older API, refuses it in the same words.
"""

from collections.abc import Iterator
from typing import NamedTuple

from core.catalog import BaseModelEntry
from core.methods.low_rank import LoraAdapter
from core.methods.method import MethodOptions
from core.methods.offered import OFFERED
from core.methods.registry import METHODS


class Held(NamedTuple):
    """A way in which a base model is held, and how a client gets another one."""

    told: str
    change: str


SPREAD = Held("is spread over devices", "leave 'training.fsdp' out")
QUANTISED = Held("is quantised", "name one in 'model' that is not")
NOT_QUANTISED = Held("is not quantised", "name one in 'model' that is")

TYPE, INIT, DORA, FSDP = "adapter.type", "adapter.init_lora_weights", "adapter.use_dora", "training.fsdp"
OTHER_METHODS = " or ".join(f"'{name}'" for name in OFFERED if not METHODS[name].needs_whole_weights)
ANOTHER_METHOD = f"train {OTHER_METHODS}"
ANOTHER_INIT = f"choose another '{INIT}'"


class Need(NamedTuple):
    """What an adapter asks of the base model by the parameter `param`, and cannot have where that is `held`
    so; `change` is what else a client may ask for."""

    param: str
    held: Held
    what: str
    change: str


class Misfit(NamedTuple):
    """Why an adapter cannot be trained on a base model, and what to do."""

    param: str
    message: str


def misfit(adapter: MethodOptions, base_model: BaseModelEntry, sharded: bool) -> Misfit | None:
    """None where the adapter can be trained on the base model, which is `sharded` where devices share it."""
    quantised = base_model.quantization is not None
    holds = {SPREAD: sharded, QUANTISED: quantised, NOT_QUANTISED: not quantised}
    for need in _needs(adapter):
        if holds[need.held]:
            reason = f"{need.what}, but {base_model.id} {need.held.told}"
            return Misfit(need.param, f"{reason}: {need.held.change}, or {need.change}.")
    return None


def _needs(adapter: MethodOptions) -> Iterator[Need]:
    method = METHODS[adapter.type]
    if method.needs_whole_weights:
        what = f"{method.title} needs the base model's weights whole and as they were published"
        yield Need(FSDP, SPREAD, what, ANOTHER_METHOD)
        yield Need(TYPE, QUANTISED, what, ANOTHER_METHOD)
    if isinstance(adapter, LoraAdapter):
        yield from _needs_of_lora(adapter)


def _needs_of_lora(adapter: LoraAdapter) -> Iterator[Need]:
    init = f"init_lora_weights '{adapter.init_lora_weights}'"
    if adapter.begins_with_weights:
        what = f"{init} begins with a part of the weights, whole and as they were published"
        yield Need(INIT, SPREAD, what, ANOTHER_INIT)
        yield Need(INIT, QUANTISED, what, ANOTHER_INIT)
    if adapter.init_lora_weights == "eva":
        yield Need(INIT, SPREAD, f"{init} looks into whole layers", ANOTHER_INIT)
    if adapter.init_lora_weights == "loftq":
        yield Need(INIT, NOT_QUANTISED, f"{init} makes up for what a quantisation has lost", ANOTHER_INIT)
    if adapter.use_dora:
        yield Need(DORA, SPREAD, "DoRA trains the norms of whole weights", f"leave '{DORA}' out")
