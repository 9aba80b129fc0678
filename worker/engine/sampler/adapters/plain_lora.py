"""Reads a stored LoRA as the factors of each layer, with their scale beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from core.storage.file_names import WEIGHTS_NAME
from worker.engine.sampler.adapters.check import (
    CONFIG_NAME,
    TENSOR,
    AdapterRefused,
    read_config,
    read_tensors,
    special_option,
)
from worker.engine.sampler.adapters.files import scale_in


@dataclass(frozen=True)
class ScaledFactors:
    """The update `scale` B A of one linear layer, in fp32."""

    A_RK: Tensor
    B_NR: Tensor
    scale: float


def read_plain_lora(folder: Path, *, transposed: bool = False) -> Mapping[str, ScaledFactors]:
    """Return the factors by the layers' names in the base model.

    With `transposed`, the layers may store their weights as [inputs, outputs]. Raises AdapterRefused for an
    adapter that is more than a LoRA, and for damaged files.
    """
    config = read_config(folder / CONFIG_NAME)
    plain = {**config, "fan_in_fan_out": False} if transposed else config
    if (special := special_option(plain)) is not None:
        raise AdapterRefused(special)
    if config.get("use_dora"):
        raise AdapterRefused("DoRA changes the norms of the weights, which no A and B can")
    return {module: scaled(config, module, pair) for module, pair in read_pairs(folder).items()}


def read_pairs(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Return the `lora_A` and `lora_B` of each module, in fp32.

    Raises AdapterRefused for any other tensor.
    """
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_tensors(folder / WEIGHTS_NAME).items():
        if (found := TENSOR.fullmatch(name)) is None:
            raise AdapterRefused(f"it changes {name}")
        pairs.setdefault(found["module"], {})[found["parameter"]] = tensor.float()
    if halves := [module for module, pair in pairs.items() if pair.keys() != {"lora_A", "lora_B"}]:
        raise AdapterRefused(f"it has only one of the two factors of {min(halves)}")
    return dict(sorted(pairs.items()))


def scaled(config: Mapping[str, Any], module: str, pair: Mapping[str, Tensor]) -> ScaledFactors:
    """Return the factors of one linear layer with the scale that the configuration gives it."""
    A_RK, B_NR = pair["lora_A"], pair["lora_B"]
    return ScaledFactors(A_RK, B_NR, scale_in(config, module, len(A_RK)))
