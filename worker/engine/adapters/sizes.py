"""The ranks and scales of an adapter's modules."""

import math
from collections.abc import Mapping

from peft.utils.other import get_pattern_key
from torch import Tensor

from core.errors import JobError
from core.methods.low_rank import AdaLoraAdapter, EvaConfig, LoraAdapter, LowRankAdapter
from worker.engine.base.targets import Groups, chosen


def rank_of(module: str, adapter: LowRankAdapter) -> int:
    """The rank of a module when its training begins."""
    if isinstance(adapter, AdaLoraAdapter):
        return adapter.init_r
    ranks = adapter.rank_pattern
    return ranks.get(get_pattern_key(list(ranks), module), adapter.r)


def alpha_of(module: str, adapter: LoraAdapter) -> float:
    alphas = adapter.alpha_pattern
    return alphas.get(get_pattern_key(list(alphas), module), adapter.lora_alpha)


def scale_of(module: str, adapter: LoraAdapter) -> float:
    """What the product of a module's factors is multiplied by."""
    rank = rank_of(module, adapter)
    return alpha_of(module, adapter) / (math.sqrt(rank) if adapter.use_rslora else rank)


def refuse_missing_ranks(module: str, rank: int, most: int) -> None:
    """Raises JobError where a module's rank is above the `most` that there are to begin with."""
    if rank > most:
        message = f"{module} has no {rank} ranks to begin with; lower the rank to {most}."
        raise JobError("invalid_adapter", message, "adapter.r")


def redistributed(adapter: LoraAdapter, first: Mapping[str, Tensor], groups: Groups) -> LoraAdapter:
    """The options of the LoRA that begins with the A in `first`: their ranks, alphas and modules."""
    options = adapter.eva_config or EvaConfig()
    modules = chosen(adapter.target_modules, groups)
    ranks = {module: len(first[name]) for module in modules if (name := f"{module}.lora_A") in first}
    alphas = {module: alpha_of(module, adapter) for module in ranks}
    if options.adjust_scaling_factors:
        alphas = {name: alpha * ranks[name] / rank_of(name, adapter) for name, alpha in alphas.items()}
    changes = {
        "target_modules": adapter.target_modules if len(ranks) == len(modules) else list(ranks),
        "rank_pattern": {module: rank for module, rank in ranks.items() if rank != adapter.r},
        "alpha_pattern": {name: alpha for name, alpha in alphas.items() if alpha != adapter.lora_alpha},
    }
    return adapter.model_copy(update=changes)
