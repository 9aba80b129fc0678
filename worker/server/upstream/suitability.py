"""Decides whether vLLM computes an adapter as PEFT does. It would ignore some options without a word."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from core.serving.errors import UnsuitedServer
from core.storage.file_names import WEIGHTS_NAME
from worker.engine.sampler.adapters.check import (
    CONFIG_NAME,
    TENSOR,
    AdapterRefused,
    check_origin,
    read_config,
    read_tensors,
    special_option,
)

FACTORS = {"lora_A", "lora_B"}


def check_adapter(folder: Path, repository: str) -> None:
    """Check the files of an adapter on the base model with this public name.

    Raises AdapterRefused if they are damaged or belong to another base model, and UnsuitedServer if vLLM does
    not take them.
    """
    if not (folder / CONFIG_NAME).exists():
        raise unsuited("it is a whole model of its own")
    config = read_config(folder / CONFIG_NAME)
    check_origin(config, repository)
    if (reason := _why_not(config)) is not None:
        raise unsuited(reason)
    _check_factors(read_tensors(folder / WEIGHTS_NAME))


def unsuited(reason: str) -> UnsuitedServer:
    return UnsuitedServer(
        f"The upstream of this model cannot use its adapter: {reason.rstrip('.')}. Ask the operator for "
        "a server without an upstream (`tunery serve`), or train a plain LoRA."
    )


def _why_not(config: Mapping[str, Any]) -> str | None:
    return "it uses DoRA" if config.get("use_dora") else special_option(config)


def _check_factors(tensors: Mapping[str, Tensor]) -> None:
    """Check that there are two factors of each projection, and that their ranks agree."""
    ranks: dict[str, dict[str, int]] = {}
    for name, tensor in tensors.items():
        found = TENSOR.fullmatch(name)
        if found is None or found["parameter"] not in FACTORS:
            raise unsuited(f"it changes {name}")
        if tensor.ndim != 2:
            raise AdapterRefused(f"The adapter's {name} is not a matrix.")
        module, parameter = found["module"], found["parameter"]
        ranks.setdefault(module, {})[parameter] = tensor.shape[parameter == "lora_B"]
    if not ranks:
        raise AdapterRefused("The adapter has no weights.")
    for module, factors in ranks.items():
        if factors.keys() != FACTORS or len(set(factors.values())) > 1:
            raise AdapterRefused(f"The adapter's two factors of {module} do not belong together.")
