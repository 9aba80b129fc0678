"""Which of a base model's projections an adapter is put on."""

from collections.abc import Mapping
from typing import Literal

from core.errors import JobError
from core.methods.method import MethodOptions
from core.methods.registry import METHODS
from worker.engine.base.text_decoder import Projections

Targets = Literal["all-linear"] | list[str]
Groups = Mapping[str, Projections]


def adaptable(groups: Groups) -> list[str]:
    """The modules that the engine can train an adapter on, by their full names."""
    return [module for group in groups.values() for module in group.columns]


def is_target(module: str, targets: Targets) -> bool:
    """PEFT's rule: a target is a module's whole name or its last parts."""
    return targets == "all-linear" or any(f".{module}".endswith(f".{target}") for target in targets)


def strange(targets: Targets, groups: Groups) -> list[str]:
    """The targets that name nothing which the engine can train."""
    named = [] if targets == "all-linear" else targets
    return [one for one in named if not any(is_target(module, [one]) for module in adaptable(groups))]


def chosen(targets: Targets, groups: Groups) -> list[str]:
    """The modules that are meant, by their full names. Raises JobError where a target cannot be trained.

    In a model that sees or hears too, they are the text part's.
    """
    if unknown := strange(targets, groups):
        raise refusal(", ".join(unknown), groups)
    return [module for module in adaptable(groups) if is_target(module, targets)]


def refusal(what: str, groups: Groups) -> JobError:
    choices = sorted({module.rpartition(".")[2] for module in adaptable(groups)})
    message = f"{what} cannot be adapted; name target_modules among {', '.join(choices)}."
    return JobError("invalid_adapter", message, "adapter.target_modules")


def refused_by_peft(options: MethodOptions, error: Exception) -> JobError:
    """Of what PEFT does not put on the base model, or cannot compute there: its own reason."""
    message = f"{METHODS[options.type].title} cannot be trained so on this base model: {error}"
    return JobError("invalid_adapter", message, "adapter")
