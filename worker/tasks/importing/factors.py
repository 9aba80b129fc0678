"""A LoRA as the factors of each layer, checked against the base model's layers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from core.methods.method import MAX_RANK
from worker.tasks.importing.layers import Layer, Layers
from worker.tasks.importing.refusal import refusal, shown
from worker.tasks.importing.tensors import Tensors

MAX_IMPORTED_RANK = 4 * MAX_RANK  # a merged layer has a rank for each of its parts


@dataclass(frozen=True)
class LayerFactors:
    """One layer's factors: A is [rank, inputs], B is [outputs, rank]. Only DoRA has magnitudes, [outputs]."""

    A_RK: Tensor
    B_NR: Tensor
    alpha: float
    magnitude_N: Tensor | None = None

    @property
    def rank(self) -> int:
        return len(self.A_RK)


@dataclass(frozen=True)
class LoraFactors:
    """The factors by the full names of the layers, and what all layers share.

    `invocation` are the tokens from which on an aLoRA acts in a row.
    """

    factors: Mapping[str, LayerFactors]
    use_rslora: bool = False
    lora_dropout: float = 0.0
    invocation: Sequence[int] = ()
    notes: Mapping[str, object] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The largest rank of a layer."""
        return max(factors.rank for factors in self.factors.values())


def tensors_by_layer(
    tensors: Tensors, layers: Layers, names: re.Pattern[str], unknown: str
) -> dict[str, Tensors]:
    """Return the tensors of each layer by their parameters. `names` has the groups `module` and `parameter`.

    Raises JobError for a tensor of another name, with `unknown` as the words after that name, and for a
    parameter that stands twice.
    """
    found: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        matched = names.fullmatch(name)
        if matched is None:
            raise refusal("unknown_tensor", f"The tensor {shown(name)} {unknown}")
        own = found.setdefault(layers.find(matched["module"]), {})
        if matched["parameter"] in own:
            raise refusal("unknown_tensor", f"The tensor {shown(name)} stands twice, under two names.")
        own[matched["parameter"]] = tensor
    return found


def check_fit(lora: LoraFactors, layers: Layers) -> None:
    """Raise JobError, which names the layer, if a factor does not fit the base model."""
    if not lora.factors:
        raise refusal("incomplete_adapter", "The file holds no LoRA factors: no lora_A and lora_B.")
    for name, factors in lora.factors.items():
        layer = layers.by_name[name]
        _check_shapes(name, factors, layer)
    kinds = {layers.by_name[name].fan_in_fan_out for name in lora.factors}
    if len(kinds) > 1:
        raise refusal(
            "unsupported_adapter",
            "The adapter changes layers that store their weights in different directions (Conv1D and "
            "Linear), for which PEFT has no configuration. Import the layers of one kind.",
        )


def _check_shapes(name: str, factors: LayerFactors, layer: Layer) -> None:
    A_RK, B_NR = factors.A_RK, factors.B_NR
    rank = factors.rank if A_RK.dim() == 2 else 0
    if A_RK.shape != (rank, layer.inputs) or B_NR.shape != (layer.outputs, rank) or not rank:
        raise refusal(
            "wrong_shape",
            f"The factors of {shown(name)} have the shapes {list(A_RK.shape)} and {list(B_NR.shape)}, but "
            f"the base model's layer needs [r, {layer.inputs}] and [{layer.outputs}, r]. Check 'base_model'.",
        )
    if rank > MAX_IMPORTED_RANK:
        raise refusal(
            "wrong_shape", f"The rank of {shown(name)} is {rank}; it may be {MAX_IMPORTED_RANK} at most."
        )
    if factors.magnitude_N is not None and factors.magnitude_N.shape != (layer.outputs,):
        raise refusal(
            "wrong_shape",
            f"The magnitudes of {shown(name)} have the shape {list(factors.magnitude_N.shape)}, but the base "
            f"model's layer has {layer.outputs} outputs. Check 'base_model'.",
        )
