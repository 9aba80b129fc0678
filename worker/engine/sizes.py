"""The ranks and scales of an adapter's modules."""

import math

from peft.utils.other import get_pattern_key

from core.errors import JobError
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter


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
