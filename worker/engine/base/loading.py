"""Loads a base model's weights into memory, frozen, in the precision that the catalog declares."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, GenerationConfig

from core.catalog import BaseModelEntry
from worker.base_models.quantised_copy import QuantisedCopy
from worker.base_models.telling import Tell, untold
from worker.engine.base.config_check import unsupported
from worker.engine.base.expert_quantisation import taking_experts
from worker.engine.base.quantisation import make_trainable, quantise_embeddings, quantization_config
from worker.engine.base.sharding import shard
from worker.engine.base.source import BytesRead, SourceWeights
from worker.engine.base.stored_form import StoredForm, keep_copy
from worker.engine.base.transformers_class import class_for

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}

Loaded = tuple[Any, Mapping[str, Any]]
"""A model, and what transformers tells of its loading."""
Read = Callable[[SourceWeights | StoredForm, BytesRead], Loaded]

log = structlog.get_logger()


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
    entry: BaseModelEntry,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    sharded: bool = False,
    tell: Tell = untold,
    copy: QuantisedCopy | None = None,
) -> nn.Module:
    """Load the model whole, or `sharded` over the processes, which must all load it at the same time.

    A quantised model is read from its `copy`, which is made if it is not there. Raises JobError if
    transformers cannot load the model, or if bitsandbytes is needed and missing.
    """
    options: dict[str, Any] = {"ignore_mismatched_sizes": True}  # they are found below
    if entry.quantization is not None:
        config = taking_experts(quantization_config(entry.quantization, dtype, entry.id))
        options |= {"quantization_config": config, "device_map": {"": device}}
    read = partial(_read_one_by_one, folder, dtype=dtype, **options)
    try:
        kept = _read_copy(copy, read, tell) if copy else None
        loaded, found = kept or _read_source(folder, read, tell)
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
            quantise_embeddings(model, dtype)
    if copy is not None and kept is None:
        keep_copy(copy, model)
    return model if entry.quantization is not None else model.to(device)


def _read_source(folder: Path, read: Read, tell: Tell) -> Loaded:
    source = SourceWeights(folder)
    of = source.bytes
    loaded = read(source, _counted(tell, 0, of))
    tell(of, of)  # also if the files hold more than the model takes
    return loaded


def _read_copy(copy: QuantisedCopy, read: Read, tell: Tell) -> Loaded | None:
    """Return the model as its copy holds it, or None if there is none that can be read."""
    if (file := copy.found(tell)) is None:
        return None
    stored = None
    try:
        stored = StoredForm(file)
        size = stored.bytes
        model, found = read(stored, _counted(tell, size, 2 * size))  # after it was read for its hash
        tell(2 * size, 2 * size)
        if not (found["missing_keys"] or found["mismatched_keys"]):
            return model, found
        reason = f"it lacks {found}"
    except (OSError, SafetensorError) as error:  # another process may have removed it
        reason = str(error)
    except RuntimeError:
        if stored is None or stored.fault is None:  # such as a device without memory
            raise
        reason = str(stored.fault)
    log.warning("quantised_copy_not_read", file=str(file), reason=reason)
    copy.remove()
    return None


def load_plain(folder: Path, dtype: torch.dtype | str) -> Any:
    """Return the model in a folder, in evaluation mode, as transformers loads it. Raises what it raises.

    `dtype` may be "auto" for a model that is not quantised.
    """
    if (source := SourceWeights(folder)).is_quantised:
        assert isinstance(dtype, torch.dtype)
        return _read_one_by_one(folder, source, dtype=dtype)[0]
    model_class, config = class_for(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    options = {"config": config, "dtype": dtype, "trust_remote_code": False, "use_safetensors": True}
    return model_class.from_pretrained(folder, **options)


def _read_one_by_one(
    folder: Path,
    source: SourceWeights | StoredForm,
    read: BytesRead = lambda _: None,
    *,
    dtype: torch.dtype,
    **options: Any,
) -> Loaded:
    """Return the model, and what transformers tells of its loading.

    Weights are read one at a time, just before transformers takes them. So beside what it makes of them,
    there is one weight in memory, or those of which it merges one.
    """
    model_class, config = class_for(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    for part in {id(each): each for each in (config, config.get_text_config())}.values():
        if hasattr(part, "quantization_config"):
            del part.quantization_config
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # threads would read weights long before they are taken
    lazy = source.lazy(dtype, read)
    options |= {"config": config, "dtype": dtype, "output_loading_info": True, "trust_remote_code": False}
    model, found = model_class.from_pretrained(None, state_dict=lazy, **options)
    with suppress(OSError):  # there need not be such a file
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model, found


def _counted(tell: Tell, read: int, of: int) -> BytesRead:
    """Return what adds what it hears to the bytes that have been read, and tells it."""

    def add(more: int) -> None:
        nonlocal read
        read += more
        tell(read, of)

    tell(read, of)
    return add
