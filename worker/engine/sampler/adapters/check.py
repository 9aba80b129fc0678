"""Reads PEFT's two files of an adapter, and refuses what is damaged or belongs to another base model."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.errors import TuneryError

CONFIG_NAME = "adapter_config.json"
TENSOR = re.compile(
    r"base_model\.model\.(?P<module>.+)\.(?P<parameter>lora_A|lora_B|lora_magnitude_vector)(\.weight)?"
)
INVOCATION = "alora_invocation_tokens"
# Options of PEFT's that only PEFT itself computes, where they have another value than this
PLAIN_OPTIONS: Mapping[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "lora_bias": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "layer_replication": None,
    "trainable_token_indices": None,
    INVOCATION: None,
    "use_qalora": False,
    "arrow_config": None,
    "use_bdlora": None,
    "target_parameters": None,
    "monteclora_config": None,
    "velora_config": None,
    "kasa_config": None,
}
# Initialisations that change the base model's weights when PEFT loads them
CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")


class AdapterRefused(TuneryError):
    """The files of an adapter that cannot be used on this base model."""


def read_config(file: Path) -> dict[str, Any]:
    """Return the configuration. Raises AdapterRefused if the file is damaged."""
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise AdapterRefused(f"The adapter's {file.name} cannot be read.") from error
    if not isinstance(config, dict):
        raise AdapterRefused(f"The adapter's {file.name} is not a JSON object.")
    return config


def check_origin(config: Mapping[str, Any], repository: str) -> None:
    """Raise AdapterRefused if the adapter belongs to another base model, or to changed weights of it."""
    named = config.get("base_model_name_or_path")
    if named is not None and named != repository:
        raise AdapterRefused(f"The adapter belongs to the base model {named}, not to {repository}.")
    if str(config.get("init_lora_weights")).startswith(CHANGING):
        raise AdapterRefused(
            f"The adapter was saved for a changed base model ({config['init_lora_weights']}). Save it as a "
            "plain LoRA, by `path_initial_model_for_weight_conversion`."
        )


def special_option(config: Mapping[str, Any]) -> str | None:
    """Return the option that makes the adapter more than a LoRA or DoRA, with its value; None without one."""
    for name, plain in PLAIN_OPTIONS.items():
        value = config.get(name, plain)
        if value != plain and (plain or value):
            return f"its {name} is {config[name]}"
    return None


def invocation_in(config: Mapping[str, Any]) -> Sequence[int]:
    """Return the tokens that invoke the adapter, or none. Raises AdapterRefused if they are no tokens."""
    return _listed(config, INVOCATION, int, "tokens")


def target_parameters_in(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the parameters that are targets. Raises AdapterRefused if they are no names."""
    return _listed(config, "target_parameters", str, "names")


def _listed(config: Mapping[str, Any], option: str, kind: type, what: str) -> list[Any]:
    found = config.get(option) or ()
    if not isinstance(found, list | tuple) or not all(isinstance(each, kind) for each in found):
        raise AdapterRefused(f"The adapter's {option} is not a list of {what}.")
    return [*found]


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors by their names. Raises AdapterRefused if one holds numbers that are not finite."""
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise AdapterRefused(
            f"The adapter's {file.name} cannot be read: it is damaged or missing."
        ) from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not math.isfinite(float(tensor.sum(dtype=torch.float32))):
            raise AdapterRefused(f"The adapter's {name} holds numbers that are not finite.")
    return tensors
