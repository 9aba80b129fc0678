"""Reads the tensors of files that nobody has checked: safetensors, and pickles without code."""

import json
import math
import pickle
import re
import struct
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors.torch import load_file
from torch import Tensor

from core.strict_json import RepeatedKeys, mark_repeated_keys, refuse_constant
from worker.tasks.importing.refusal import refusal, shown

MAX_HEADER = 16 * 1024**2
MAX_TENSORS = 100_000
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
STATE_NAMES = ("state_dict", "model_state_dict", "model")  # under which training scripts keep a state dict
GLOBAL = re.compile(r"GLOBAL ([\w.]+)")  # in torch's message

Tensors = dict[str, Tensor]


def read_safetensors(path: Path) -> Tensors:
    """Return the tensors by name. Raises JobError if the file or one of its tensors is wrong."""
    _check_header(path)
    tensors = load_file(path)
    check_finite(tensors, path.name)
    return tensors


def read_pickle(path: Path, max_bytes: int, name: str) -> Tensors:
    """Return the tensors of a state dict that `torch.save` wrote. Nothing in the file is run.

    Raises JobError if the file holds anything but tensors, or tensors that are wrong or too large.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused_pickle(name, error) from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        AssertionError,
    ) as error:
        raise refusal(
            "invalid_checkpoint",
            f"{shown(name)} is not a checkpoint that can be read ({type(error).__name__}). Save a state dict "
            "by `torch.save`, or as safetensors.",
        ) from error
    tensors = _state_dict(found, name)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if total > max_bytes:
        raise refusal(
            "adapter_too_large",
            f"The tensors of {shown(name)} take {total:,} bytes; an adapter may have {max_bytes:,} here.",
        )
    _refuse_shared_memory(tensors, name)
    check_finite(tensors, name)
    return {key: tensor.detach().contiguous() for key, tensor in tensors.items()}


def check_finite(tensors: Mapping[str, Tensor], file: str) -> None:
    """Raise JobError if a tensor holds NaN or infinity."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise refusal(
                "non_finite_weights",
                f"The tensor {shown(name)} in {file} holds numbers that are not finite. Train the adapter "
                "again with a lower learning rate.",
            )


def _check_header(path: Path) -> None:
    """Check each tensor's type, shape and place. Raises JobError; it names the tensor."""
    entries, size = _header(path)
    ends_at, before = 0, ""
    places = []
    for name, entry in entries.items():
        start, end = _place(name, entry, size, path.name)
        places.append((start, end, name))
    for start, end, name in sorted(places):
        if start < ends_at:
            raise _wrong_tensor(name, path.name, f"overlaps the tensor {shown(before)}")
        if start > ends_at:
            raise _wrong_tensor(name, path.name, "leaves a gap before it")
        ends_at, before = end, name
    if ends_at != size:
        raise refusal(
            "invalid_safetensors",
            f"{path.name} has {size - ends_at:,} bytes that belong to no tensor. Save it again.",
        )


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the entries of the tensors, and how many bytes follow the header."""
    with path.open("rb") as file:
        beginning = file.read(8)
        length = struct.unpack("<Q", beginning)[0] if len(beginning) == 8 else 0
        rest = path.stat().st_size - 8 - length
        if not 2 <= length <= MAX_HEADER or rest < 0:
            raise refusal(
                "invalid_safetensors",
                f"{path.name} is damaged: its header has {length:,} bytes by its own account. Save it again.",
            )
        text = file.read(length)
    try:
        found = json.loads(text, object_pairs_hook=mark_repeated_keys, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise refusal(
            "invalid_safetensors", f"The header of {path.name} is not JSON. Save it again."
        ) from error
    if not isinstance(found, dict) or isinstance(found, RepeatedKeys):
        told = (
            f"names {shown(found.key)} twice" if isinstance(found, RepeatedKeys) else "is not a JSON object"
        )
        raise refusal("invalid_safetensors", f"The header of {path.name} {told}. Save it again.")
    found.pop("__metadata__", None)
    if not 0 < len(found) <= MAX_TENSORS:
        raise refusal("invalid_safetensors", f"{path.name} holds {len(found):,} tensors.")
    return found, rest


def _place(name: str, entry: Any, size: int, file: str) -> tuple[int, int]:
    """Return where the tensor begins and ends."""
    if not isinstance(entry, dict) or isinstance(entry, RepeatedKeys):
        raise _wrong_tensor(name, file, "has no description")
    dtype, shape, offsets = (entry.get(key, ()) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise _wrong_tensor(name, file, f"has the type {str(dtype)[:20]!r}; weights are {', '.join(SIZES)}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise _wrong_tensor(name, file, "has a shape or a place that is not a list of sizes")
    start, end = offsets
    if not start <= end <= size:
        raise _wrong_tensor(name, file, "lies outside of the file")
    if math.prod(shape) * SIZES[dtype] != end - start:
        raise _wrong_tensor(
            name, file, f"has the shape {shape}, which does not fit its {end - start:,} bytes"
        )
    return start, end


def _are_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _wrong_tensor(name: str, file: str, reason: str) -> Exception:
    return refusal(
        "invalid_safetensors", f"The tensor {shown(name)} in {file} {reason}. Save the file again."
    )


def _refused_pickle(name: str, error: Exception) -> Exception:
    found = GLOBAL.search(str(error))
    what = found[1] if found else None
    return refusal(
        "unsafe_pickle",
        f"{shown(name)} holds something else than tensors{f' ({what[:80]})' if what else ''}, which could "
        "run code. Save only the state dict, best as safetensors.",
    )


def _state_dict(found: Any, file: str) -> Tensors:
    if isinstance(found, Mapping):
        for name in STATE_NAMES:
            if isinstance(found.get(name), Mapping):
                found = found[name]
    if not isinstance(found, Mapping) or not found or len(found) > MAX_TENSORS:
        raise refusal(
            "invalid_checkpoint", f"{shown(file)} is not a state dict, which maps names to tensors."
        )
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise refusal(
                "invalid_checkpoint", f"The entry {shown(str(name))} of {shown(file)} is not a tensor."
            )
        plain = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
        if not plain or tensor.dtype not in FLOATS:
            raise refusal(
                "invalid_checkpoint",
                f"The tensor {shown(name)} of {shown(file)} is {tensor.dtype}; weights are dense floats.",
            )
    return dict(found)


def _refuse_shared_memory(tensors: Tensors, file: str) -> None:
    """Raise JobError if tensors lie over each other, or if one repeats its own numbers."""
    places = []
    for name, tensor in tensors.items():
        if not tensor.numel():
            continue
        sizes = zip(tensor.shape, tensor.stride(), strict=True)
        span = 1 + sum((size - 1) * stride for size, stride in sizes)
        if span < tensor.numel():
            raise refusal(
                "overlapping_tensors",
                f"The tensor {shown(name)} of {shown(file)} is larger than its bytes. Save a clone of it.",
            )
        start = tensor.storage_offset() * tensor.element_size()
        end = start + span * tensor.element_size()
        places.append((tensor.untyped_storage().data_ptr(), start, end, name))
    places.sort()
    for (storage, _, end, before), (other, start, _, name) in pairwise(places):
        if storage == other and start < end:
            raise refusal(
                "overlapping_tensors",
                f"The tensors {shown(before)} and {shown(name)} of {shown(file)} share their bytes. Save "
                "clones of them.",
            )
