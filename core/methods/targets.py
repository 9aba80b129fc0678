"""Which modules of a model an adapter is put on, and with which rank."""

import re
from typing import Literal

from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter
from core.methods.method import Layers

Targets = Literal["all-linear"] | list[str]


def is_target(module: str, targets: Targets, layers: Layers | None = None) -> bool:
    """Tell whether the targets name the module: by its whole name or by its last parts, as in PEFT.

    A module that is named by its last parts must also be in one of the `layers`.
    """
    if targets == "all-linear":
        return True
    if not any(f".{module}".endswith(f".{target}") for target in targets):
        return False
    return layers is None or module in targets or layer_of(module, layers) in layers.numbers


def layer_of(module: str, layers: Layers) -> int | None:
    """Return the number of the decoder layer that a module is in, as PEFT finds it; None for another module.

    It is the first number in the module's name behind one of the patterns, or behind at least two names.
    """
    prefixes = [rf"(?:^|.*?\.){pattern}" for pattern in layers.patterns] or [r".*?\.[^.]*"]
    found = (re.match(rf"{prefix}\.(\d+)\.", module) for prefix in prefixes)
    return next((int(match[1]) for match in found if match), None)


def takes_experts(parameter: str, adapter: LowRankAdapter) -> bool:
    """Tell whether the adapter changes this weight of experts: without names, `all-linear` takes each."""
    if not isinstance(adapter, LoraAdapter):
        return False
    if adapter.target_parameters is None:
        return adapter.target_modules == "all-linear" and adapter.trained_beside is None
    return is_target(parameter, adapter.target_parameters)


def rank_of(module: str, adapter: LowRankAdapter) -> int:
    """Return the rank of a module at the beginning of its training.

    As in PEFT, a key of `rank_pattern` is a regular expression for the last parts of a module's name.
    """
    if isinstance(adapter, AdaLoraAdapter):
        return adapter.init_r
    patterns = adapter.rank_pattern.items()
    found = (rank for key, rank in patterns if re.match(rf"(.*\.)?({key})$", module))
    return next(found, adapter.rank_pattern.get(module, adapter.r))
