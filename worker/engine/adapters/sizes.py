"""The ranks and scales of an adapter's modules."""

import math
from collections.abc import Mapping

from peft.utils.other import get_pattern_key
from torch import Tensor

from core.methods.low_rank import EvaConfig, LoraAdapter
from core.methods.targets import rank_of
from worker.engine.decoders.targets import Groups, resolve_targets


def alpha_of(module: str, adapter: LoraAdapter) -> float:
    alphas = adapter.alpha_pattern
    return alphas.get(get_pattern_key(list(alphas), module), adapter.lora_alpha)


def scale_of(module: str, adapter: LoraAdapter) -> float:
    """Return the factor that multiplies the product of a module's A and B."""
    return scale(alpha_of(module, adapter), rank_of(module, adapter), adapter.use_rslora)


def scale(alpha: float, rank: int, stabilised: bool) -> float:
    """Return alpha / r, or alpha / √r with rank stabilisation (Kalajdzievski 2023, arXiv:2312.03732)."""
    return alpha / (math.sqrt(rank) if stabilised else rank)


def with_redistributed_ranks(
    adapter: LoraAdapter, initial: Mapping[str, Tensor], groups: Groups
) -> LoraAdapter:
    """Return the options with the ranks, alphas and modules of the A in `initial`, which EVA found."""
    options = adapter.eva_config or EvaConfig()
    modules = resolve_targets(adapter.target_modules, groups, adapter.layers)
    ranks = {module: len(initial[name]) for module in modules if (name := f"{module}.lora_A") in initial}
    alphas = {module: alpha_of(module, adapter) for module in ranks}
    if options.adjust_scaling_factors:
        alphas = {name: alpha * ranks[name] / rank_of(name, adapter) for name, alpha in alphas.items()}
    changes = {
        "target_modules": adapter.target_modules if len(ranks) == len(modules) else list(ranks),
        "rank_pattern": {module: rank for module, rank in ranks.items() if rank != adapter.r},
        "alpha_pattern": {name: alpha for name, alpha in alphas.items() if alpha != adapter.lora_alpha},
    }
    return adapter.model_copy(update=changes)
