"""Writes PEFT's files of an adapter, which `PeftModel.from_pretrained` loads."""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from core.catalog import BaseModelEntry
from core.storage.file_names import WEIGHTS_NAME

PEFT_NAME = "default"  # PEFT's name of the one adapter that each tree of modules has
IN_FILE = "base_model.model."  # begins the names in PEFT's file


def save_adapter(model: PeftModel, entry: BaseModelEntry, folder: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json, which name the base model of `entry`."""
    state = get_peft_model_state_dict(model, adapter_name=PEFT_NAME, save_embedding_layers=False)
    trained = {each.data_ptr() for each in model.parameters() if each.requires_grad}
    fixed = {name: tensor for name, tensor in state.items() if tensor.data_ptr() not in trained}
    tensors = {name: state[name] for name in state.keys() - fixed.keys()} | _without_repetition(fixed)
    save_files(model.peft_config[PEFT_NAME], tensors, entry, folder)


def save_files(
    config: PeftConfig, tensors: Mapping[str, Tensor], entry: BaseModelEntry, folder: Path
) -> None:
    """Write the same two files from a configuration and from tensors by PEFT's names."""
    config = copy.deepcopy(config)
    config.base_model_name_or_path = entry.repository
    config.revision = entry.revision
    if targets := target_names(config):
        config.target_modules = targets
    if parameters := getattr(config, "target_parameters", None):
        config.target_parameters = sorted(parameters)
    config.inference_mode = True
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    contiguous = {
        name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    save_file(contiguous, folder / WEIGHTS_NAME, metadata={"format": "pt"})


def parameters_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a LoRA's file by the names of the parameters in `TrainableAdapter`."""
    return {name.removeprefix(IN_FILE).removesuffix(".weight"): tensor for name, tensor in tensors.items()}


def _without_repetition(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keep a tensor that layers share only once, under its outermost name.

    PEFT loads it from there into all of these layers. PEFT itself saves a copy for each layer. With these
    copies, RandLoRA's random matrices would make the file hundreds of times as large.
    """
    innermost_first = sorted(state, key=lambda name: name.count("."), reverse=True)
    names = {(state[name].data_ptr(), state[name].shape): name for name in innermost_first}
    return {name: state[name] for name in names.values()}


def target_names(config: PeftConfig) -> list[str]:
    """Return the adapted modules that the configuration names, sorted."""
    targets = getattr(config, "target_modules", None) or ()
    return [targets] if isinstance(targets, str) else sorted(targets)
