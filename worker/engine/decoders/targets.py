"""The projections of a base model that an adapter is put on."""

import re
from collections.abc import Iterable, Mapping

from core.errors import JobError
from core.methods.low_rank import LoraAdapter, LowRankAdapter
from core.methods.method import Layers
from core.methods.targets import Targets, is_target, layer_of, takes_experts
from worker.engine.decoders.text_decoder import Projections

Groups = Mapping[str, Projections]
Experts = Mapping[str, tuple[int, int, int]]
"""`TextDecoder.experts`."""


def adaptable_modules(groups: Groups) -> list[str]:
    """Return the modules that the engine can train an adapter on, by their full names."""
    return [module for group in groups.values() for module in group.columns]


def resolve_targets(targets: Targets, groups: Groups, layers: Layers | None = None) -> list[str]:
    """Return the modules that the targets name in the layers, by their full names.

    Raises JobError for a target or a layer that the model does not have. In a model that also processes
    images or audio, they are modules of the text part.
    """
    if unknown := _unknown_targets(targets, groups):
        raise not_adaptable(", ".join(unknown), groups)
    if layers is not None:
        _refuse_unknown_layers(targets, groups, layers)
    return [module for module in adaptable_modules(groups) if is_target(module, targets, layers)]


def resolve_experts(adapter: LowRankAdapter, experts: Experts) -> list[str]:
    """Return the weights of experts that the adapter changes, by their full names.

    Raises JobError for an unknown name, and for options with which PEFT cannot change experts.
    """
    taken = [parameter for parameter in experts if takes_experts(parameter, adapter)]
    if not isinstance(adapter, LoraAdapter):
        return taken
    named = adapter.target_parameters or []
    if unknown := [one for one in named if not any(is_target(each, [one]) for each in experts)]:
        raise JobError("invalid_adapter", _unknown_experts(unknown, experts), "adapter.target_parameters")
    if taken and (conflict := next(adapter.conflicts_with_experts(), None)):
        option, reason = conflict
        message = (
            f"Target modules 'all-linear' include this base model's experts, and {reason}. To leave these "
            "as they are, set target_parameters to []."
        )
        raise JobError("invalid_adapter", message, f"adapter.{option}")
    return taken


def within_layers(names: Iterable[str]) -> list[str]:
    """Return the names without what comes before and in the number of a decoder layer, each once."""
    return sorted({re.sub(r"^.*\.\d+\.", "", name) for name in names})


def not_adaptable(names: str, groups: Groups) -> JobError:
    """Make the error for modules that cannot be adapted; it lists the modules that can."""
    choices = sorted({module.rpartition(".")[2] for module in adaptable_modules(groups)})
    message = f"{names} cannot be adapted; choose target_modules from {', '.join(choices)}."
    return JobError("invalid_adapter", message, "adapter.target_modules")


def _unknown_experts(names: Iterable[str], experts: Experts) -> str:
    if not experts:
        return "This base model has no experts that can be adapted: leave target_parameters out."
    choices = ", ".join(within_layers(experts))
    return f"{', '.join(names)}: no such weights of experts; choose target_parameters from {choices}."


def _refuse_unknown_layers(targets: Targets, groups: Groups, layers: Layers) -> None:
    """Raise JobError for a layer in which the model has none of the targets: PEFT would ignore it."""
    modules = [module for module in adaptable_modules(groups) if is_target(module, targets)]
    known = {layer for module in modules if (layer := layer_of(module, layers)) is not None}
    if unknown := sorted(set(layers.numbers) - known):
        has = f"they are in the layers {min(known)} to {max(known)}" if known else "they are in no layer"
        message = f"Layer {unknown[0]} has none of the target_modules; {has}."
        param = "layers_to_transform" if known else "layers_pattern" if layers.patterns else "target_modules"
        raise JobError("invalid_adapter", message, f"adapter.{param}")


def _unknown_targets(targets: Targets, groups: Groups) -> list[str]:
    """Return the targets that name no module which the engine can train."""
    named = [] if targets == "all-linear" else targets
    modules = adaptable_modules(groups)
    return [target for target in named if not any(is_target(module, [target]) for module in modules)]
