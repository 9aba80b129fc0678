"""Which modules of a model an adapter is put on, and with which rank."""

import re
from typing import Literal

from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter

Targets = Literal["all-linear"] | list[str]


def is_target(module: str, targets: Targets) -> bool:
    """Tell whether the targets name the module: by its whole name or by its last parts, as in PEFT."""
    return targets == "all-linear" or any(f".{module}".endswith(f".{target}") for target in targets)


def takes_experts(parameter: str, adapter: LowRankAdapter) -> bool:
    """Tell whether the adapter changes this weight of experts: without names, `all-linear` takes each."""
    if not isinstance(adapter, LoraAdapter):
        return False
    if adapter.target_parameters is None:
        return adapter.target_modules == "all-linear"
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
