"""Tells a job of the base model's weights: what experts it does not train, and what is not quantised."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from core.jobs.spec import JobSpec
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.method import MethodOptions
from core.methods.targets import takes_experts
from worker.engine.adapters.peft_targets import left_out_in_few_bits
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.expert_quantisation import unquantised_bytes
from worker.engine.decoders.portable import body_of, linear_layers
from worker.engine.decoders.targets import adaptable_modules, within_layers
from worker.trainer.report.reporter import JobEvent

EXPERTS = "experts"  # a part of the name of each module with several experts' weights in one parameter


def events_on_weights(base: ResidentBase, spec: JobSpec) -> Iterator[JobEvent]:
    """Yield the events on the base model's weights, before the rows are read. A job gets each once."""
    if base.slow_path_warning:
        yield JobEvent(base.slow_path_warning, None, {"level": "warn"})
    if base.entry.quantization is not None:
        yield from _on_quantisation(base.model, base.entry.quantization)
    yield from _on_layers(base, spec)
    numbers = _numbers_of_experts(base.model)
    for adapter in [each.adapter for each in spec.candidates] if numbers else []:
        yield from _on_experts(adapter, numbers, set(base.decoder.experts))


def _on_layers(base: ResidentBase, spec: JobSpec) -> Iterator[JobEvent]:
    """Yield an event if `all-linear` leaves out linear layers: of routers, or that PEFT cannot adapt here."""
    adapters = [each.adapter for each in spec.candidates]
    asking = [each for each in adapters if getattr(each, "target_modules", None) == "all-linear"]
    if not asking:
        return
    body = set(linear_layers(body_of(base.model)).values())
    every = {name for name, layer in linear_layers(base.model).items() if layer in body}
    left = every - set(adaptable_modules(base.decoder.groups))
    left |= {layer for adapter in asking for layer in left_out_in_few_bits(base, adapter)}
    if left:
        message = f"'all-linear' leaves out these linear layers: {_listed(left)}."
        data = {"code": "left_out_layers", "layers": sorted(left)}
        yield JobEvent(message, "left_out_layers", {"data": data})


def _numbers_of_experts(model: nn.Module) -> dict[str, int]:
    """Return how many numbers the weights of experts have, by the parameters' names.

    `experts_in` finds the layers of experts that the engine can compute; these are all of them.
    """
    named = model.named_parameters()
    return {name: p.numel() for name, p in named if p.dim() == 3 and EXPERTS in name.split(".")}


def _on_experts(adapter: MethodOptions, numbers: Mapping[str, int], known: set[str]) -> Iterator[JobEvent]:
    if adapter.type == "full":
        return
    low_rank = adapter if isinstance(adapter, LoraAdapter | AdaLoraAdapter) else None
    trained = {name for name in known if low_rank and takes_experts(name, low_rank)}
    untrained = numbers.keys() - trained
    if trained:
        message = f"Of the experts, the adapter changes {_listed(trained)}. Their routers stay as they are."
        yield JobEvent(message, "experts", {"data": {"code": "experts", "parameters": sorted(trained)}})
    if untrained:
        remedy = "The engine cannot train these."
        if known and adapter.type == "lora":
            remedy = "To train them, name them in adapter.target_parameters."
        elif known:
            remedy = "Only the method lora trains experts."
        count = sum(numbers[name] for name in untrained)
        message = f"The adapter does not change {count:,} numbers of experts: {_listed(untrained)}. {remedy}"
        data: dict[str, Any] = {
            "code": "untrained_experts",
            "numbers": count,
            "parameters": sorted(untrained),
        }
        yield JobEvent(message, "untrained_experts", {"level": "warn", "data": data})


def _on_quantisation(model: nn.Module, quantization: str) -> Iterator[JobEvent]:
    if found := unquantised_bytes(model):
        total = sum(found.values())
        message = f"Not held in {quantization}: {_listed(found)}, which take {total / 1e6:,.1f} MB."
        data = {"code": "unquantised_weights", "bytes": total, "parameters": sorted(found)}
        yield JobEvent(message, "unquantised_weights", {"data": data})


def _listed(names: Mapping[str, Any] | set[str]) -> str:
    return ", ".join(within_layers(names))
