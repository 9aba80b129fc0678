"""Loads a base model's weights into memory, frozen, in the precision that the catalog declares."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, GenerationConfig

from core.catalog import BaseModelEntry
from worker.engine.base.config_check import unsupported
from worker.engine.base.expert_quantisation import taking_experts
from worker.engine.base.quantisation import make_trainable, quantise_embeddings, quantization_config
from worker.engine.base.sharding import shard
from worker.engine.base.source import SourceWeights
from worker.engine.base.transformers_class import class_for

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def declared_dtype(entry: BaseModelEntry, device: torch.device) -> torch.dtype:
    """Return the type that the base model computes in; `auto` follows the device."""
    return compute_dtype(device) if entry.dtype == "auto" else DTYPES[entry.dtype]


def compute_dtype(device: torch.device) -> torch.dtype:
    """Return bf16 if the hardware multiplies it faster than fp32, else fp32.

    Emulated bf16 is many times slower. With AVX-512 alone, Intel's CPUs take nearly twice as long for bf16 as
    for fp32, so they need AMX; AMD's CPUs are faster in bf16 with AVX-512.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    cpu = torch.cpu.get_capabilities()
    by_avx512 = cpu.get("avx512_bf16") and not str(cpu.get("cpu_name")).startswith("Intel")
    return torch.bfloat16 if by_avx512 or cpu.get("amx_bf16") or cpu.get("bf16") else torch.float32


def source_dtype(folder: Path) -> torch.dtype | None:
    """Return the type of the source weights in `folder`; None if the model's configuration has none."""
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    found: torch.dtype | None = config.dtype or config.get_text_config().dtype
    return found


def load_model(
    entry: BaseModelEntry, folder: Path, device: torch.device, dtype: torch.dtype, sharded: bool = False
) -> nn.Module:
    """Load the model whole, or `sharded` over the processes, which must all load it at the same time.

    Raises JobError if transformers cannot load the model, or if bitsandbytes is needed and missing.
    """
    options: dict[str, Any] = {"ignore_mismatched_sizes": True}  # they are found below
    if entry.quantization is not None:
        config = taking_experts(quantization_config(entry.quantization, dtype, entry.id))
        options |= {"quantization_config": config, "device_map": {"": device}}
    try:
        loaded, found = _read(folder, dtype, **options)
    except ValueError as error:
        reason = str(error).replace(str(folder), entry.repository)  # clients read it and must see no path
        raise unsupported(entry, reason) from error
    if wrong := found["missing_keys"] | {name for name, *_ in found["mismatched_keys"]}:
        raise unsupported(entry, f"its weights lack {min(wrong)}, or hold it in another shape.")
    if loaded.get_output_embeddings() is None:
        raise unsupported(entry, "it has no head that writes text.")
    model: nn.Module = loaded.eval().requires_grad_(False)
    if sharded:
        return shard(model, device)
    if entry.quantization is not None:
        make_trainable(model)
        if entry.quantization == "nf4":
            quantise_embeddings(model)
    _let_go_of_file(model)
    return model if entry.quantization is not None else model.to(device)


def load_plain(folder: Path, dtype: torch.dtype | str) -> Any:
    """Return the model in a folder, in evaluation mode, as transformers loads it. Raises what it raises.

    `dtype` may be "auto" for a model that is not quantised.
    """
    model, _ = _read(folder, dtype)
    return model


def _read(folder: Path, dtype: torch.dtype | str, **options: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return the model, and what transformers tells of its loading.

    Weights that the files hold quantised, or that are to be quantised, are read one tensor at a time, just
    before transformers takes them. So nothing of the files stays mapped into memory when it is done with.
    """
    model_class, config = class_for(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    options |= {"config": config, "dtype": dtype, "output_loading_info": True, "trust_remote_code": False}
    source = SourceWeights(folder)
    if not source.is_quantised and "quantization_config" not in options:
        model, found = model_class.from_pretrained(folder, use_safetensors=True, **options)
        return model, found
    assert isinstance(dtype, torch.dtype)
    for part in {id(each): each for each in (config, config.get_text_config())}.values():
        if hasattr(part, "quantization_config"):
            del part.quantization_config
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # threads would compute tensors long before they are taken
    model, found = model_class.from_pretrained(None, state_dict=source.lazy(dtype), **options)
    with suppress(OSError):  # there need not be such a file
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model, found


def _let_go_of_file(model: nn.Module) -> None:
    """Copy the parameters that are views of the weights' file, so that the whole file does not stay mapped.

    Quantised parameters have been copied already. A GPU's parameters are not views.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.device.type == "cpu" and 0 not in parameter.stride():
            parameter.data = parameter.data.clone()
