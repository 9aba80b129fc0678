"""Composes the factors of several LoRAs as PEFT's `add_weighted_adapter` does, without a base model.

The combination of tensors is PEFT's own. This module decides what is combined: the updates s B A of the
weights, or A and B with the root of each weight in both. The result has one rank, and a scale of 1.

It differs from PEFT in one point. PEFT keeps `use_rslora` of the first adapter, so that the result is too
large by the root of its rank. Here the scale is 1 for every adapter.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from peft.utils import merge_utils
from torch import Tensor

from core.compositions.methods import decomposes
from core.compositions.requests import ComposeRequest
from core.errors import JobError
from core.methods.method import MAX_RANK
from worker.engine.sampler.adapters.plain_lora import ScaledFactors
from worker.tasks.export.low_rank import svd_of_product
from worker.tasks.importing.factors import LayerFactors, LoraFactors
from worker.tasks.importing.layers import Layers

Lora = Mapping[str, ScaledFactors]
Parts = Sequence[tuple[ScaledFactors, float]]
Report = Callable[[float], None]
"""Takes the share of the work that is done."""


def compose(
    loras: Sequence[Lora],
    weights: Sequence[float],
    asked: ComposeRequest,
    layers: Layers,
    report: Report = lambda _: None,
) -> LoraFactors:
    """Return the composition of the LoRAs. Equal arguments give equal results.

    A layer is composed of those LoRAs that adapt it. `report` is called after each layer.
    Raises JobError if the LoRAs cannot be composed by the method, or if a number of the result is not finite.
    """
    if len(loras) == 1:  # PEFT scales a single adapter, whatever the method is
        asked = asked.model_copy(update={"method": "linear"})
    rank = _rank(loras, asked)
    torch.manual_seed(asked.seed or 0)
    composed = {}
    # PEFT's order, in which it draws random numbers
    for count, (name, layer) in enumerate(layers.by_name.items(), 1):
        parts = [(lora[name], weight) for lora, weight in zip(loras, weights, strict=True) if name in lora]
        if parts:
            A_RK, B_NR = _layer(parts, asked, rank, layer.fan_in_fan_out)
            composed[name] = _padded(A_RK, B_NR, rank)
            _check_finite(name, composed[name])
        report(count / len(layers.by_name))
    return LoraFactors(composed)


def _layer(parts: Parts, asked: ComposeRequest, rank: int, fan_in_fan_out: bool) -> tuple[Tensor, Tensor]:
    if asked.method == "cat":
        A_RK = torch.cat([each.A_RK * (weight * each.scale) for each, weight in parts])
        return A_RK, torch.cat([each.B_NR for each, _ in parts], dim=1)
    if not decomposes(asked.method):
        roots = [_roots(weight * each.scale) for each, weight in parts]
        A_RK = _combined([each.A_RK for each, _ in parts], [of_A for of_A, _ in roots], asked)
        return A_RK, _combined([each.B_NR for each, _ in parts], [of_B for _, of_B in roots], asked)
    if asked.method == "svd" and asked.svd_clamp is None:  # the sum of thin products is such a product
        A_RK = torch.cat([each.A_RK * (weight * each.scale) for each, weight in parts])
        U_NR, s_R, Vh_RK = svd_of_product(torch.cat([each.B_NR for each, _ in parts], dim=1), A_RK)
    else:
        updates = [each.B_NR @ each.A_RK * each.scale for each, _ in parts]
        if fan_in_fan_out:
            updates = [update_NK.T for update_NK in updates]
        update = _combined(updates, [weight for _, weight in parts], asked)
        U_NR, s_R, Vh_RK = torch.linalg.svd(update.T if fan_in_fan_out else update, full_matrices=False)
    return _clamped(Vh_RK[:rank], U_NR[:, :rank] * s_R[:rank], asked.svd_clamp)


def _combined(tensors: list[Tensor], weights: list[float], asked: ComposeRequest) -> Tensor:
    """Combine tensors of one shape by PEFT's function for the method."""
    each_weight = torch.tensor(weights)
    density, signs = asked.density or 1.0, asked.majority_sign_method or "total"
    match asked.method.removesuffix("_svd"):
        case "linear" | "svd":
            found = merge_utils.task_arithmetic(tensors, each_weight)
        case "ties":
            found = merge_utils.ties(tensors, each_weight, density, signs)
        case "dare_linear":
            found = merge_utils.dare_linear(tensors, each_weight, density)
        case "dare_ties":
            found = merge_utils.dare_ties(tensors, each_weight, density, signs)
        case "magnitude_prune":
            found = merge_utils.magnitude_prune(tensors, each_weight, density)
        case other:
            raise AssertionError(other)
    assert isinstance(found, Tensor)
    return found


def _roots(weight: float) -> tuple[float, float]:
    """Return the factors of A and B. A negative weight changes the sign of one of them."""
    root = math.sqrt(abs(weight))
    return math.copysign(root, weight), root


def _clamped(A_RK: Tensor, B_NR: Tensor, quantile: float | None) -> tuple[Tensor, Tensor]:
    if quantile is None:
        return A_RK, B_NR
    most = quantile_of(torch.cat([B_NR.flatten(), A_RK.flatten()]), quantile)
    return A_RK.clamp(-most, most), B_NR.clamp(-most, most)


def quantile_of(values: Tensor, quantile: float) -> float:
    """Return what `torch.quantile` returns, which refuses more than 2**24 values."""
    position = quantile * (len(values) - 1)
    below, above = (float(values.kthvalue(1 + k).values) for k in (math.floor(position), math.ceil(position)))
    return below + (above - below) * (position - math.floor(position))


def _rank(loras: Sequence[Lora], asked: ComposeRequest) -> int:
    """Return the rank of the result. Raises JobError if the method cannot compose LoRAs of these ranks."""
    ranks = [max(len(factors.A_RK) for factors in lora.values()) for lora in loras]
    if asked.method == "cat":
        if sum(ranks) > MAX_RANK:
            raise JobError(
                "rank_too_large",
                f"'cat' would make an adapter of rank {sum(ranks)}; the largest is {MAX_RANK}. Use 'svd', "
                "with 'svd_rank'.",
                "method",
            )
        return sum(ranks)
    if decomposes(asked.method):
        return asked.svd_rank or min(max(ranks), MAX_RANK)
    shapes: dict[str, set[int]] = {}
    for lora in loras:
        for name, factors in lora.items():
            shapes.setdefault(name, set()).add(len(factors.A_RK))
    if len(set(ranks)) > 1 or any(len(found) > 1 for found in shapes.values()):
        raise JobError(
            "different_ranks",
            f"The adapters have different ranks ({', '.join(map(str, ranks))}, or other ones in single "
            f"layers), but '{asked.method}' adds A and B, and needs one rank. Use 'cat', 'svd' or another "
            "method that ends in '_svd'.",
            "method",
        )
    return ranks[0]


def _padded(A_RK: Tensor, B_NR: Tensor, rank: int) -> LayerFactors:
    """Add zeros up to the rank, as all layers of the result have the same."""
    missing = rank - len(A_RK)
    pad = torch.nn.functional.pad
    return LayerFactors(pad(A_RK, (0, 0, 0, missing)), pad(B_NR, (0, missing)), alpha=rank)


def _check_finite(name: str, factors: LayerFactors) -> None:
    if not all(bool(torch.isfinite(each).all()) for each in (factors.A_RK, factors.B_NR)):
        raise JobError(
            "not_finite",
            f"The composition of {name} has numbers that are not finite. Use smaller weights.",
            "adapters",
        )
