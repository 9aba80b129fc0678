"""PiSSA, OLoRA, CorDA and LoRA-GA: adapters that begin with a part of the weights, which the base keeps.

PEFT takes A₀ and B₀, the first A and B, out of a layer's weight, and trains on the rest. Here many jobs share
the base, so it stays whole:

    y = x (W - s B₀ A₀)ᵀ + s x (B A)ᵀ = x Wᵀ + s x (B A - B₀ A₀)ᵀ
    B A - B₀ A₀ = B (A - A₀) + (B - B₀) A₀

This is a LoRA of twice the rank, with the factors [A - A₀; A₀] and [B, B - B₀]. PEFT's own conversion saves
the same product as [A; A₀] and [B, -B₀]. Rounded to bf16, those factors would lose the small differences.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor

from worker.engine.adapters.refusals import initialisation_refused, refuse_missing_ranks
from worker.engine.parameters.factoring import Factoring, is_lora_a
from worker.engine.parameters.flat import Extent, named_tensors


def initialise_from_weight(module: str, layer: Any, peft_name: str, init: str) -> None:
    """Let PEFT set the layer's A and B from a copy of its weight. Raises JobError if it cannot."""
    A, B = layer.lora_A[peft_name].weight, layer.lora_B[peft_name].weight
    shapes = A.shape, B.shape
    refuse_missing_ranks(module, len(A), min(A.shape[1], len(B)))
    if init == "olora" and layer.fan_in_fan_out:
        raise initialisation_refused(f"olora does not support the weight layout of {module}.")
    shared = layer.base_layer
    layer.base_layer = copy.deepcopy(shared)
    try:
        if init == "olora":
            layer.olora_init(peft_name)
        else:
            layer.pissa_init(peft_name, init)
    finally:
        layer.base_layer = shared
    assert (A.shape, B.shape) == shapes


def residual_factoring(extents: Mapping[str, Extent], first: Tensor) -> Factoring:
    """Return the map to the factors of twice the rank. `first` [P] holds A₀ and B₀ as A and B lie."""
    doubled, start = {}, 0
    for name, extent in extents.items():
        rows, columns = extent.shape
        doubled[name] = Extent(start, (2 * rows, columns) if is_lora_a(name) else (rows, 2 * columns))
        start = doubled[name].stop

    def factors(master: Tensor) -> Tensor:
        changed = master - first
        parts = [
            torch.cat([extent.of(changed), extent.of(first)])
            if is_lora_a(name)
            else torch.cat([extent.of(master), extent.of(changed)], 1)
            for name, extent in extents.items()
        ]
        return torch.cat([part.flatten() for part in parts])

    return Factoring(doubled, factors, kept=named_tensors({"first": first}, extents))


def without_residual(saved: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return A and B, and A₀ and B₀, from the factors of twice the rank that `residual_factoring` returns."""
    values, first = {}, {}
    for name, factor in saved.items():
        if is_lora_a(name):
            changed, first[name] = factor.chunk(2)
            values[name] = first[name] + changed
        else:
            values[name], changed = factor.chunk(2, dim=1)
            first[name] = values[name] - changed
    return values, first


def doubled_rank_config(config: LoraConfig) -> LoraConfig:
    """Return the configuration of the plain LoRA of twice the rank, at the same scale."""
    plain = copy.deepcopy(config)
    scale = math.sqrt(2) if config.use_rslora else 2
    plain.init_lora_weights = True
    plain.r, plain.lora_alpha = 2 * config.r, scale * config.lora_alpha
    plain.rank_pattern = {name: 2 * rank for name, rank in config.rank_pattern.items()}
    plain.alpha_pattern = {name: scale * alpha for name, alpha in config.alpha_pattern.items()}
    return plain
