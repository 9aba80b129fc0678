"""Reads PEFT's two files of a LoRA adapter: the whole configuration and every tensor must be understood."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.catalog import BaseModelEntry
from core.methods.low_rank import MAX_INVOCATION
from core.storage.file_names import WEIGHTS_NAME
from core.strict_json import RepeatedKeys, mark_repeated_keys, refuse_constant
from worker.engine.sampler.adapters.check import CHANGING, CONFIG_NAME, INVOCATION, special_option
from worker.tasks.importing.factors import LayerFactors, LoraFactors, tensors_by_layer
from worker.tasks.importing.layers import Layers
from worker.tasks.importing.refusal import refusal, shown
from worker.tasks.importing.tensors import Tensors, read_pickle, read_safetensors

PICKLE_NAME = "adapter_model.bin"
WANTED = (CONFIG_NAME, WEIGHTS_NAME, PICKLE_NAME)
MAX_CONFIG_BYTES = 1024**2
MAX_PATTERNS = 10_000
CODE = ("auto_mapping", "auto_map", "trust_remote_code", "custom_modules", "_custom_modules")
TENSOR = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+?)\.(?P<parameter>lora_A|lora_B|lora_magnitude_vector)"
    r"(?:\.default)?(?:\.weight)?"
)
UNKNOWN = (
    "is not a factor of a LoRA on a linear layer. Save the adapter without embeddings, heads and biases."
)
PATTERN = re.compile(r"\^?[A-Za-z0-9_.\\]{1,256}\$?")  # no repetition, which could take for ever to match
Patterns = Sequence[tuple[re.Pattern[str], float]]
LOCAL = re.compile(r"[./~\\]|[A-Za-z]:[\\/]")  # begins a path, which tells nothing about the model


def read_peft_folder(folder: Path, entry: BaseModelEntry, layers: Layers, max_bytes: int) -> LoraFactors:
    """Return the adapter. Raises JobError; it names the file and the field or tensor."""
    config = _read_config(folder / CONFIG_NAME)
    _check_kind(config)
    _check_base(config, entry)
    if (folder / WEIGHTS_NAME).exists():
        tensors = read_safetensors(folder / WEIGHTS_NAME)
    elif (folder / PICKLE_NAME).exists():
        tensors = read_pickle(folder / PICKLE_NAME, max_bytes, PICKLE_NAME)
    else:
        raise refusal("incomplete_adapter", f"The zip has no {WEIGHTS_NAME}. Pack it beside {CONFIG_NAME}.")
    return _adapter(config, tensors_by_layer(tensors, layers, TENSOR, UNKNOWN), layers)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise refusal(
            "incomplete_adapter",
            f"The zip has no {CONFIG_NAME}. Pack the folder that PEFT's `save_pretrained` writes.",
        )
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise refusal("invalid_config", f"{CONFIG_NAME} has more than {MAX_CONFIG_BYTES:,} bytes.")
    try:
        found = json.loads(
            path.read_bytes(), object_pairs_hook=mark_repeated_keys, parse_constant=refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise refusal("invalid_config", f"{CONFIG_NAME} is not JSON. Save the adapter again.") from error
    if not isinstance(found, dict) or isinstance(found, RepeatedKeys):
        raise refusal(
            "invalid_config", f"{CONFIG_NAME} is not a JSON object in which each key is named once."
        )
    return found


def _check_kind(config: Mapping[str, Any]) -> None:
    """Raise JobError for code, for another method than LoRA, and for more than factors."""
    for name in CODE:
        if config.get(name):
            raise refusal(
                "remote_code",
                f"{CONFIG_NAME} names code to run, in '{name}'. Code is never run: remove the field.",
            )
    if config.get("peft_type") != "LORA":
        raise refusal(
            "unsupported_adapter",
            f"{CONFIG_NAME} names the peft_type {str(config.get('peft_type'))[:40]!r}, but only LORA can be "
            "imported.",
        )
    if str(config.get("init_lora_weights")).startswith(CHANGING):
        raise refusal(
            "unsupported_adapter",
            f"The adapter was saved for a changed base model (init_lora_weights "
            f"{str(config['init_lora_weights'])[:40]!r}). Save it as a plain LoRA, by PEFT's "
            "`path_initial_model_for_weight_conversion`.",
        )
    special = special_option({**config, "fan_in_fan_out": False, INVOCATION: None})
    if special is not None:
        raise refusal(
            "unsupported_adapter",
            f"The adapter is more than a LoRA: {special[:200]} in {CONFIG_NAME}. Save one without it.",
        )


def _check_base(config: Mapping[str, Any], entry: BaseModelEntry) -> None:
    """Raise JobError if the configuration names another base model. A path tells nothing."""
    named = config.get("base_model_name_or_path")
    if named in (None, "", entry.repository, entry.id):
        return
    if isinstance(named, str) and LOCAL.match(named):
        return
    raise refusal(
        "wrong_base_model",
        f"{CONFIG_NAME} names the base model {shown(str(named))}, but '{entry.id}' is {entry.repository}. "
        "Name the right 'base_model'. If the weights are the same, set base_model_name_or_path to "
        f"'{entry.repository}'.",
        "base_model",
    )


def _adapter(config: Mapping[str, Any], tensors: Mapping[str, Tensors], layers: Layers) -> LoraFactors:
    use_dora, use_rslora = bool(config.get("use_dora")), bool(config.get("use_rslora"))
    invocation = _invocation(config, layers)
    ranks, alphas = _pattern(config, "rank_pattern"), _pattern(config, "alpha_pattern")
    r, alpha = _number(config, "r", 8), _number(config, "lora_alpha", 8)
    factors = {}
    for module, own in tensors.items():
        needed = {"lora_A", "lora_B"} | ({"lora_magnitude_vector"} if use_dora else set())
        if own.keys() != needed:
            told = ", ".join(sorted(needed ^ own.keys()))
            raise refusal(
                "incomplete_adapter",
                f"The tensors of {shown(module)} do not go with {CONFIG_NAME}: {told} is missing or extra.",
            )
        rank = _value_of(module, ranks, r)
        if own["lora_A"].dim() != 2 or len(own["lora_A"]) != rank:
            raise refusal(
                "wrong_shape",
                f"The tensor lora_A of {shown(module)} has the shape {list(own['lora_A'].shape)}, but its "
                f"rank is {rank:g} by {CONFIG_NAME}.",
            )
        own_alpha = _value_of(module, alphas, alpha)
        factors[module] = LayerFactors(
            own["lora_A"], own["lora_B"], own_alpha, own.get("lora_magnitude_vector")
        )
    _refuse_missing(config, factors, layers)
    dropout = config.get("lora_dropout")
    plain_dropout = dropout if isinstance(dropout, int | float) and 0 <= dropout < 1 else 0.0
    return LoraFactors(factors, use_rslora, float(plain_dropout), invocation)


def _invocation(config: Mapping[str, Any], layers: Layers) -> Sequence[int]:
    """Return the tokens that invoke an aLoRA, none for another adapter. Raises JobError if they are wrong."""
    found = config.get(INVOCATION)
    if found is None:
        return ()
    is_list = isinstance(found, list) and 0 < len(found) <= MAX_INVOCATION
    if not is_list or not all(type(token) is int and 0 <= token < layers.tokens for token in found):
        raise refusal(
            "invalid_config",
            f"'{INVOCATION}' in {CONFIG_NAME} is not a list of 1 to {MAX_INVOCATION} tokens of the base "
            f"model, which has the tokens 0 to {layers.tokens - 1}. Check 'base_model'.",
        )
    if config.get("use_dora"):
        raise refusal(
            "unsupported_adapter",
            f"{CONFIG_NAME} has use_dora, which changes all tokens, and {INVOCATION}, which spares some. "
            "Import an adapter that has one of the two.",
        )
    return found


def _refuse_missing(config: Mapping[str, Any], found: Iterable[str], layers: Layers) -> None:
    """Raise JobError if a layer that the configuration plainly names has no tensors."""
    targets = config.get("target_modules")
    limited = any(config.get(name) is not None for name in ("layers_to_transform", "exclude_modules"))
    if not isinstance(targets, list) or limited:
        return  # a text is a regular expression, and is not run
    leaves = {f".{target}" for target in targets if isinstance(target, str)}
    present = set(found)
    for name in layers.by_name:
        if name not in present and any(f".{name}".endswith(leaf) for leaf in leaves):
            raise refusal(
                "incomplete_adapter",
                f"{CONFIG_NAME} names the layer {shown(name)} in target_modules, but the file has no tensors "
                "for it. Save the adapter again, or check 'base_model'.",
            )


def _value_of(module: str, patterns: Patterns, otherwise: float) -> float:
    """Return the value of the first pattern that the module's name ends with, as PEFT finds it."""
    return next((value for pattern, value in patterns if pattern.match(module)), otherwise)


def _pattern(config: Mapping[str, Any], name: str) -> Patterns:
    found = config.get(name) or {}
    if not isinstance(found, dict) or len(found) > MAX_PATTERNS:
        raise refusal("invalid_config", f"'{name}' in {CONFIG_NAME} is not an object.")
    for key, value in found.items():
        if not PATTERN.fullmatch(key):
            raise refusal("invalid_config", f"'{name}' in {CONFIG_NAME} has {shown(key)}, no layer's name.")
        _positive(value, f"{name}.{key}")
    try:
        return [(re.compile(rf"(.*\.)?({key})$"), float(value)) for key, value in found.items()]
    except re.error as error:
        raise refusal("invalid_config", f"'{name}' in {CONFIG_NAME} has a key that is not a name.") from error


def _number(config: Mapping[str, Any], name: str, default: float) -> float:
    value = config.get(name, default)
    _positive(value, name)
    return float(value)


def _positive(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise refusal("invalid_config", f"{shown(name)} in {CONFIG_NAME} is not a positive number.")
