"""Calls attention in C (`attention.c`). Each function returns None where C cannot compute it."""

from ctypes import CDLL, Structure, byref, c_float, c_int64, c_void_p
from typing import Any, Protocol

import torch
from torch import Tensor

from worker.engine.kernels.in_c.calls import kernel, pointers, threads

SIZE, SIZE_IN_FP32 = 64, 16  # a head has a multiple of so many numbers


class Sight(Protocol):
    """The keys that queries see."""

    @property
    def spans(self) -> tuple[Tensor, Tensor]:
        """The first key that a row of queries sees, and the one behind its last: int32, [pieces, rows]."""


class _Rows(Structure):
    _fields_ = (("x", c_void_p), ("batch", c_int64), ("row", c_int64))


class _Shape(Structure):
    _fields_ = tuple((name, c_int64) for name in ("batches", "pieces", "rows", "keys", "size"))


def probabilities(q: Tensor, k: Tensor, sight: Sight, scale: float) -> Tensor | None:
    """Return softmax(scale q kᵀ), [B, R, K], of q, [B, R, E], and k, [B, K, E]."""
    if (built := _built(q, k)) is None:
        return None
    return _attend(built, q, k, None, None, sight, scale)


def attended(q: Tensor, k: Tensor, v: Tensor, sight: Sight, scale: float) -> tuple[Tensor, Tensor] | None:
    """Return the `probabilities` p, and p v, [B, R, E]. v is [B, K, E].

    In fp32, p v has the bits that the sampler's step computes, whatever rows and keys are beside.
    """
    built = _built_in_fp32(q, k, v) if q.dtype is torch.float32 else _built(q, k, v)
    if built is None:
        return None
    o = q.new_empty(q.shape)
    return _attend(built, q, k, v, o, sight, scale), o


def _attend(
    built: CDLL, q: Tensor, k: Tensor, v: Tensor | None, o: Tensor | None, sight: Sight, scale: float
) -> Tensor:
    p = q.new_empty(*q.shape[:2], k.shape[1])
    shape = _shape(q, k, sight)
    rooms = _rooms(built, shape)
    built.attended(
        *map(_rows, (q, k, k if v is None else v)),
        byref(shape),
        *pointers(*sight.spans),
        c_float(scale),
        *pointers(p, o, rooms),
        threads(),
    )
    return p


def gradients(
    do: Tensor, k: Tensor, v: Tensor, p: Tensor, sight: Sight, scale: float
) -> tuple[Tensor, Tensor] | None:
    """Return scale times the gradient of the scores, [B, R, K], and that of the queries, [B, R, E]."""
    if not p.is_contiguous() or (built := _built(do, k, v, p)) is None:
        return None
    ds, dq = torch.empty_like(p), do.new_empty(do.shape)
    shape = _shape(do, k, sight)
    rooms = _rooms(built, shape)
    built.gradients(
        *map(_rows, (do, v, k)),
        byref(shape),
        *pointers(*sight.spans),
        c_float(scale),
        *pointers(p, ds, dq, rooms),
        threads(),
    )
    return ds, dq


def _built(x: Tensor, *others: Tensor) -> CDLL | None:
    if x.dtype is not torch.bfloat16 or x.shape[2] % SIZE:
        return None
    built = _built_for_rows(x, *others)
    return built if built is not None and built.has_pairs() else None


def _built_in_fp32(x: Tensor, *others: Tensor) -> CDLL | None:
    return None if x.shape[2] % SIZE_IN_FP32 else _built_for_rows(x, *others)


def _built_for_rows(*tensors: Tensor) -> CDLL | None:
    """Return the kernels if the numbers of each row lie side by side."""
    if any(each.stride(2) != 1 for each in tensors):
        return None
    return kernel("attention", *tensors)


def _rows(x: Tensor) -> Any:
    return byref(_Rows(x.data_ptr(), x.stride(0), x.stride(1)))


def _shape(x: Tensor, keys: Tensor, sight: Sight) -> _Shape:
    first, _ = sight.spans
    return _Shape(x.shape[0], len(first), x.shape[1], keys.shape[1], x.shape[2])


def _rooms(built: CDLL, shape: _Shape) -> Tensor:
    built.room.restype = c_int64
    return torch.empty(torch.get_num_threads() * built.room(byref(shape)), dtype=torch.int32)
