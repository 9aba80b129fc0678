"""Reads checkpoints of Microsoft's loralib (Hu et al. 2021, arXiv:2106.09685).

A layer has `lora_A` and `lora_B`. A merged layer (MergedLinear) computes several projections at once, such as
the queries, keys and values of GPT-2's `c_attn`, and adapts only those that `enable_lora` names. The factors
of one part act on the outputs of this part alone, so that

    ΔW = s · [B₁A₁; 0; B₃A₃] = s · blocks(B₁, 0, B₃) · [A₁; A₃]

which is a plain LoRA whose rank is the sum of the parts' ranks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.tasks.importing.factors import LayerFactors, LoraFactors, tensors_by_layer
from worker.tasks.importing.layers import Layer, Layers
from worker.tasks.importing.refusal import refusal, shown
from worker.tasks.importing.tensors import Tensors

TENSOR = re.compile(r"(?P<module>.+)\.(?P<parameter>lora_A|lora_B)")
UNKNOWN = (
    "is not lora_A or lora_B. Save by `loralib.lora_state_dict(model)`, or pack a folder that PEFT has saved."
)


@dataclass(frozen=True)
class LoralibOptions:
    """What a checkpoint does not tell: the alpha, and which parts of merged layers are adapted.

    A rank that the client names is compared with the checkpoint's.
    """

    lora_alpha: float | None = None
    r: int | None = None
    enable_lora: Sequence[bool] | None = None


def read_loralib(tensors: Tensors, layers: Layers, options: LoralibOptions) -> LoraFactors:
    """Return the adapter. Raises JobError; it names the tensor, or the field of the request."""
    pairs = tensors_by_layer(tensors, layers, TENSOR, UNKNOWN)
    if options.lora_alpha is None:
        raise refusal(
            "missing_required_parameter",
            "A loralib checkpoint does not hold its scale. Name the layers' lora_alpha in 'lora_alpha'; "
            "loralib's default is 1.",
            "lora_alpha",
        )
    factors = {}
    for module, pair in pairs.items():
        if pair.keys() != {"lora_A", "lora_B"}:
            raise refusal(
                "incomplete_adapter",
                f"The checkpoint has only {', '.join(pair)} of {shown(module)}; it needs lora_A and lora_B.",
            )
        factors[module] = _factors(module, pair["lora_A"], pair["lora_B"], layers.by_name[module], options)
    return LoraFactors(factors)


def _factors(module: str, A_RK: Tensor, B_NR: Tensor, layer: Layer, options: LoralibOptions) -> LayerFactors:
    assert options.lora_alpha is not None
    if (
        A_RK.dim() != 2
        or B_NR.dim() != 2
        or not A_RK.numel()
        or not B_NR.numel()
        or len(A_RK) % B_NR.shape[1]
    ):
        raise refusal(
            "wrong_shape",
            f"The factors of {shown(module)} have the shapes {list(A_RK.shape)} and {list(B_NR.shape)}, "
            "which no linear layer of loralib has.",
        )
    rank = B_NR.shape[1]
    if options.r is not None and options.r != rank:
        raise refusal("wrong_rank", f"The rank of {shown(module)} is {rank}, but 'r' is {options.r}.", "r")
    if len(A_RK) == rank and len(B_NR) == layer.outputs:
        return LayerFactors(A_RK, B_NR, options.lora_alpha)
    enabled = _enabled_parts(module, len(A_RK) // rank, len(B_NR), layer, options.enable_lora)
    count = sum(enabled)
    return LayerFactors(A_RK, _block_diagonal(B_NR, enabled), options.lora_alpha * count)


def _enabled_parts(
    module: str, count: int, rows: int, layer: Layer, asked: Sequence[bool] | None
) -> Sequence[bool]:
    """Return which parts of a merged layer are adapted. `count` parts have `rows` outputs together."""
    size = rows // count
    parts = layer.outputs // size if size and rows % count == 0 and layer.outputs % size == 0 else 0
    if parts < count:
        raise refusal(
            "wrong_shape",
            f"lora_B of {shown(module)} has {rows} rows for {count} parts, which do not divide the layer's "
            f"{layer.outputs} outputs. Check 'base_model'.",
        )
    if asked is None and parts == count:
        return [True] * parts
    if asked is None:
        raise refusal(
            "missing_required_parameter",
            f"{shown(module)} is a merged layer of {parts} parts, of which {count} are adapted. Say which in "
            "'enable_lora', such as [true, false, true] for queries and values.",
            "enable_lora",
        )
    if len(asked) != parts or sum(asked) != count:
        raise refusal(
            "invalid_value",
            f"'enable_lora' names {sum(asked)} of {len(asked)} parts, but {shown(module)} has {parts} parts, "
            f"of which {count} are adapted.",
            "enable_lora",
        )
    return asked


def _block_diagonal(B_NR: Tensor, enabled: Sequence[bool]) -> Tensor:
    """Return B of the whole layer: each adapted part's own B in its own rows and ranks, 0 elsewhere."""
    count, rank = sum(enabled), B_NR.shape[1]
    size = len(B_NR) // count
    whole = B_NR.new_zeros(size * len(enabled), rank * count)
    adapted = [number for number, is_on in enumerate(enabled) if is_on]
    for place, (number, own) in enumerate(zip(adapted, torch.split(B_NR, size), strict=True)):
        whole[number * size : (number + 1) * size, place * rank : (place + 1) * rank] = own
    return whole
