"""Checks a model's configuration before transformers loads anything with it."""

from math import prod
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PretrainedConfig

from core.catalog import BaseModelEntry
from core.errors import JobError


def check_config(entry: BaseModelEntry, folder: Path) -> None:
    """Check that the configuration describes a causal model that transformers has. Raises JobError.

    The model may not be larger than the weights are. transformers would fill the rest with random numbers,
    for which the memory may not suffice.
    """
    fields, _ = PretrainedConfig.get_config_dict(folder)
    if (name := fields.get("model_type")) not in CONFIG_MAPPING:
        raise unsupported(
            entry,
            f"its config.json names the model_type {name!r}. Code from a model's repository is never run.",
        )
    needed, there = _parameters(entry, folder), _numbers(folder)
    if needed > there:
        raise unsupported(
            entry, f"its config.json describes {needed:,} parameters, but the weights are {there:,} numbers."
        )


def _parameters(entry: BaseModelEntry, folder: Path) -> int:
    """Return how many parameters the described model has. No memory is taken for them."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if hasattr(config, "quantization_config"):
            return 0  # such a model is refused when it is loaded
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except OSError:
        raise
    except Exception as error:  # a class of transformers computes with wrong values: it may raise anything
        reason = str(error).replace(str(folder), entry.repository)  # clients read it and must see no path
        raise unsupported(entry, f"its config.json describes no model of this kind: {reason}") from error
    return sum(parameter.numel() for parameter in model.parameters())


def _numbers(folder: Path) -> int:
    """Return how many numbers the folder's safetensors hold, by their headers."""
    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            count += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count


def unsupported(entry: BaseModelEntry, reason: str) -> JobError:
    """Return the error of a base model that cannot be trained. Clients read the reason."""
    message = f"The base model {entry.id} cannot be loaded: {reason}"
    return JobError("unsupported_architecture", message, "model")
