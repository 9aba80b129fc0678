"""PEFT's files of an adapter: what `PeftModel.from_pretrained` loads."""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from core.catalog import BaseModelEntry

WEIGHTS_NAME = "adapter_model.safetensors"
PEFT_NAME = "default"  # of the one adapter that each tree has


def save_adapter(model: PeftModel, entry: BaseModelEntry, folder: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json, which name the published base."""
    state = get_peft_model_state_dict(model, adapter_name=PEFT_NAME, save_embedding_layers=False)
    trained = {each.data_ptr() for each in model.parameters() if each.requires_grad}
    fixed = {name: tensor for name, tensor in state.items() if tensor.data_ptr() not in trained}
    tensors = {name: state[name] for name in state.keys() - fixed.keys()} | _each_once(fixed)
    save_files(model.peft_config[PEFT_NAME], tensors, entry, folder)


def save_files(
    config: PeftConfig, tensors: Mapping[str, Tensor], entry: BaseModelEntry, folder: Path
) -> None:
    """The same, of a configuration and tensors by PEFT's names."""
    config = copy.deepcopy(config)
    config.base_model_name_or_path = entry.repository
    config.revision = entry.revision
    if targets := target_names(config):
        config.target_modules = targets
    config.inference_mode = True
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    contiguous = {
        name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    save_file(contiguous, folder / WEIGHTS_NAME, metadata={"format": "pt"})


def _each_once(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What layers share, under its outermost name alone: PEFT loads it into all of them by that.

    With a copy for each layer, as PEFT itself saves it, RandLoRA's random matrices would make a file that is
    hundreds of times as large.
    """
    innermost_first = sorted(state, key=lambda name: name.count("."), reverse=True)
    names = {(state[name].data_ptr(), state[name].shape): name for name in innermost_first}
    return {name: state[name] for name in names.values()}


def target_names(config: PeftConfig) -> list[str]:
    """What the configuration says is adapted, in order."""
    targets = getattr(config, "target_modules", None) or ()
    return [targets] if isinstance(targets, str) else sorted(targets)
