"""Calls recurrences with a state in C (`states.c`): all is in fp32, by token and head.

E is the size of a key and U that of a value; J are the heads of keys and H those of values.
"""

from collections.abc import Sequence
from ctypes import CDLL, Structure, byref, c_float, c_int64, c_void_p
from typing import Any, Protocol

import torch
from torch import Tensor

from worker.engine.batch.chunks import CHUNK, Chunks
from worker.engine.kernels.in_c.calls import kernel, pointers

SIZE = 16  # keys and values have a multiple of so many numbers


class Rule(Protocol):
    """Which recurrence it is."""

    @property
    def delta(self) -> bool: ...
    @property
    def normed(self) -> bool: ...
    @property
    def scale(self) -> float: ...


class _Heads(Structure):
    _fields_ = (("x", c_void_p), ("token", c_int64), ("head", c_int64))


class _Shape(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("keys", "values", "heads", "shared")),
        *((name, c_int64) for name in ("chunk", "trees", "longest", "delta", "normed")),
        ("scale", c_float),
    )


def can_scan(q_TJE: Tensor, v_THU: Tensor) -> bool:
    """Return whether C computes heads of these sizes."""
    whole = q_TJE.shape[2] % SIZE == 0 and v_THU.shape[2] % SIZE == 0
    return whole and kernel("states", q_TJE.new_empty(0, dtype=torch.float32)) is not None


def scanned(
    inputs: Sequence[Tensor],
    chunks: Chunks,
    rule: Rule,
    before_XHEU: Tensor | None = None,
    after_XHEU: Tensor | None = None,
) -> Tensor:
    """Return the outputs, [T, H, U], of q, k, [T, J, E], v, [T, H, U], g and beta, [T, H].

    The states before the trees are zero if none are given. Those behind them are written to `after_XHEU`.
    """
    inputs = _in_fp32(inputs)
    out_THU = torch.empty_like(inputs[2], memory_format=torch.contiguous_format)
    _call("forward", inputs, chunks, rule, 0, *pointers(before_XHEU, after_XHEU, out_THU))
    return out_THU


def gradients(inputs: Sequence[Tensor], chunks: Chunks, rule: Rule, dout_THU: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of the inputs; those of q and k have an axis H in the place of J."""
    q, k, v, g, beta = _in_fp32(inputs)
    dout_THU = dout_THU.float().contiguous()
    by_value = q.new_empty(*v.shape[:2], q.shape[2])
    made = [by_value, *map(_like, (by_value, v, g, beta))]
    _call("backward", (q, k, v, g, beta), chunks, rule, 1, _heads(dout_THU), _array(pointers(*made)))
    return tuple(made)


def _call(name: str, inputs: Sequence[Tensor], chunks: Chunks, rule: Rule, backward: int, *args: Any) -> None:
    built: CDLL | None = kernel("states", inputs[0])
    assert built is not None
    q, v = inputs[0], inputs[2]
    (_, heads, values), keys = v.shape, q.shape[2]
    sizes = (keys, values, heads, heads // q.shape[1], CHUNK, chunks.trees, chunks.longest)
    shape = _Shape(*sizes, rule.delta, rule.normed, rule.scale)
    built.room.restype = c_int64
    threads = min(torch.get_num_threads(), heads * chunks.trees)
    rooms = torch.empty(threads * built.room(byref(shape), backward), dtype=torch.float32)
    given = (_Heads * len(inputs))(*map(_strided, inputs))
    plan = pointers(chunks.spans_M4, chunks.roots)
    getattr(built, name)(given, byref(shape), *plan, *args, *pointers(rooms), c_int64(threads))


def _in_fp32(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors whose heads have no gaps; tokens and heads may lie apart."""
    floats = [x.float() for x in inputs]
    return [x if x.dim() == 2 or x.stride(2) == 1 else x.contiguous() for x in floats]


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _strided(x: Tensor) -> _Heads:
    return _Heads(x.data_ptr(), x.stride(0), x.stride(1))


def _heads(x: Tensor) -> Any:
    return byref(_strided(x))


def _array(values: Sequence[c_void_p]) -> Any:
    return (c_void_p * len(values))(*values)
