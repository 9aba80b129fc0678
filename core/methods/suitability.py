"""Decides which adapters can be trained on which base models.

An adapter may need weights that are not quantised, or that are not spread over devices by `training.fsdp`.
All of this is known when a job is created, so the API refuses an unsuitable job at once. A worker may find a
job from an older API; it refuses the job in the same words.
"""

from collections.abc import Iterator
from typing import NamedTuple

from core.catalog import BaseModelEntry
from core.methods.low_rank import LoraAdapter
from core.methods.method import MethodOptions
from core.methods.registry import METHODS


class State(NamedTuple):
    """A state of a base model's weights.

    `words` follow the model's name in a sentence. `remedy` says how to avoid the state.
    """

    words: str
    remedy: str


SPREAD = State("is spread over devices", "leave 'training.fsdp' out")
QUANTISED = State(
    "is quantised", "name a base model that is not quantised in 'model', without 'training.quantization'"
)
NOT_QUANTISED = State("is not quantised", "ask for 'nf4' or 'int8' in 'training.quantization'")

TYPE, INIT, DORA, FSDP = "adapter.type", "adapter.init_lora_weights", "adapter.use_dora", "training.fsdp"
OTHER_METHODS = " or ".join(f"'{name}'" for name, method in METHODS.items() if not method.needs_whole_weights)
ANOTHER_METHOD = f"train {OTHER_METHODS}"
ANOTHER_INIT = f"choose another '{INIT}'"


class Conflict(NamedTuple):
    """A setting of the adapter that does not work on a base model in `state`.

    `param` is the parameter that a refusal names. `need` says what the adapter needs. `alternative` is
    another adapter that the client may ask for.
    """

    param: str
    state: State
    need: str
    alternative: str


class Unsuitable(NamedTuple):
    """Why an adapter cannot be trained on a base model, and what to do."""

    param: str
    message: str


def why_unsuitable(adapter: MethodOptions, base_model: BaseModelEntry, sharded: bool) -> Unsuitable | None:
    """Return why the adapter cannot be trained on the base model, or None if it can.

    `sharded` says whether the base model is spread over devices.
    """
    quantised = base_model.quantization is not None
    applies = {SPREAD: sharded, QUANTISED: quantised, NOT_QUANTISED: not quantised}
    for conflict in _conflicts(adapter):
        if applies[conflict.state]:
            reason = f"{conflict.need}, but {base_model.id} {conflict.state.words}"
            advice = f"{conflict.state.remedy}, or {conflict.alternative}"
            return Unsuitable(conflict.param, f"{reason}: {advice}.")
    return None


def _conflicts(adapter: MethodOptions) -> Iterator[Conflict]:
    method = METHODS[adapter.type]
    if method.needs_whole_weights:
        need = f"{method.title} needs the base model's whole source weights"
        yield Conflict(FSDP, SPREAD, need, ANOTHER_METHOD)
        yield Conflict(TYPE, QUANTISED, need, ANOTHER_METHOD)
    if isinstance(adapter, LoraAdapter):
        yield from _conflicts_of_lora(adapter)


def _conflicts_of_lora(adapter: LoraAdapter) -> Iterator[Conflict]:
    if (option := adapter.trained_beside) is not None:
        param, need = f"adapter.{option}", f"{option} needs the base model's whole source weights"
        yield Conflict(param, SPREAD, need, f"leave '{param}' out")
        yield Conflict(param, QUANTISED, need, f"leave '{param}' out")
    init = f"init_lora_weights '{adapter.init_lora_weights}'"
    if adapter.begins_with_weights:
        need = f"{init} begins with a part of the weights, and needs the whole source weights"
        yield Conflict(INIT, SPREAD, need, ANOTHER_INIT)
        yield Conflict(INIT, QUANTISED, need, ANOTHER_INIT)
    if adapter.init_lora_weights == "eva":
        yield Conflict(INIT, SPREAD, f"{init} needs whole layers", ANOTHER_INIT)
    if adapter.init_lora_weights == "loftq":
        need = f"{init} compensates for what a quantisation has lost"
        yield Conflict(INIT, NOT_QUANTISED, need, ANOTHER_INIT)
    if adapter.use_dora:
        yield Conflict(DORA, SPREAD, "DoRA trains the norms of whole weights", f"leave '{DORA}' out")
