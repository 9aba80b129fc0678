"""Finds the kernels in C, and passes them tensors and numbers."""

from collections.abc import Sequence
from ctypes import CDLL, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor

from worker.engine.native.build import library

HERE = Path(__file__).parent
TYPES = (torch.bfloat16, torch.float32)


def kernel(name: str, *tensors: Tensor) -> CDLL | None:
    """Return the kernel in C, or None if it cannot be built, or not compute these tensors of one type."""
    dtype = tensors[0].dtype
    if dtype not in TYPES or any(x.device.type != "cpu" or x.dtype != dtype for x in tensors):
        return None
    return library(HERE / f"{name}.c", dtype == torch.bfloat16)


def pointers(*tensors: Tensor | None) -> list[c_void_p]:
    return [c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]


def integers(values: Sequence[int]) -> list[c_int64]:
    return [c_int64(value) for value in values]


def threads() -> c_int64:
    return c_int64(torch.get_num_threads())
