"""Calls the step in C: lays out what it reads as the structures of `step.c`."""

import ctypes
from collections.abc import Sequence
from ctypes import c_float, c_int64, c_void_p
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from worker.engine.decoders.architecture import GROUPS
from worker.engine.decoders.fast import Decoder
from worker.engine.generate.adapters.served import GroupFactors, ServedAdapter
from worker.engine.generate.fast.block_pool import BLOCK
from worker.engine.generate.running import Chunk
from worker.engine.kernels.frozen_weight import DenseWeight, FrozenWeight
from worker.engine.native.build import library

SOURCE = Path(__file__).with_name("step.c")
LANES, TILE, PARTS = 16, 256, 3  # of step.c
Ints = np.ndarray[Any, np.dtype[np.int64]]


def _declared(ints: str, pointers: str) -> list[tuple[str, Any]]:
    return [*((name, c_int64) for name in ints.split()), *((name, c_void_p) for name in pointers.split())]


class _Model(ctypes.Structure):
    _fields_ = (
        *_declared("layers hidden inner heads key_heads size words block", "embedding head final_norm layer"),
        ("eps", c_float),
    )


class _Step(ctypes.Structure):
    _fields_ = (
        *_declared("tokens runs wanted threads most_ranks longest", "token slot seen blocks_at blocks"),
        *_declared("", "cos sin run row logits"),
    )


class NativeStep:
    """The step in C over one decoder's weights and one pool, [layers, 2, slots, J, E]."""

    def __init__(self, step: Any, decoder: Decoder, pool: Tensor) -> None:
        self._compute = step.compute_step
        self._decoder = decoder
        self._words = len(decoder.head_VD)
        self._factors: WeakKeyDictionary[ServedAdapter, Ints] = WeakKeyDictionary()
        layers = [
            (
                *(layer.norms.before_attention_D.data_ptr(), layer.norms.before_mlp_D.data_ptr()),
                *(_matrix(layer.groups[f"{layer.name}.{key}"].weight).data_ptr() for key in GROUPS),
                *(part.data_ptr() for part in kv),
            )
            for layer, kv in zip(decoder.layers, pool, strict=True)
        ]
        self._layers = np.array(layers, dtype=np.int64)
        inner = decoder.layers[0].groups[f"{decoder.layers[0].name}.down"].weight.shape[1]
        heads, hidden = decoder.heads, len(decoder.final_norm_D)
        weights = (decoder.embedding.weight, decoder.head_VD, decoder.final_norm_D)
        self._model = _Model(
            *(len(layers), hidden, inner, heads.query, heads.key, heads.size, self._words, BLOCK),
            *(weight.data_ptr() for weight in weights),
            self._layers.ctypes.data,
            decoder.eps,
        )

    @classmethod
    def for_pool(cls, decoder: Decoder, pool: Tensor) -> "NativeStep | None":
        """Return the step in C if it can be built and its shapes fit the decoder, else None."""
        dtype = pool.dtype
        weights = [group.weight for group in decoder.groups.values()]
        inputs = {weight.shape[1] for weight in weights}
        fits = (
            pool.device.type == "cpu"
            and dtype in (torch.bfloat16, torch.float32)
            and all(isinstance(weight, DenseWeight) and weight.bias_N is None for weight in weights)
            and all(layer.is_like_llama for layer in decoder.layers)
            and decoder.softcap is None
            and decoder.heads.size <= TILE
            and not any(size % LANES for size in (*inputs, decoder.heads.size))
            and decoder.embedding.weight.is_contiguous()
            and decoder.head_VD.is_contiguous()
        )
        step = library(SOURCE, dtype == torch.bfloat16) if fits else None
        return None if step is None else cls(step, decoder, pool)

    def logits(self, chunks: Sequence[Chunk], rows: Sequence[int]) -> Tensor:
        """Compute the chunks' tokens, and return the logits of these rows of the token axis, [S, V]."""
        tokens: list[int] = []
        positions: list[int] = []
        blocks_at: list[int] = []
        blocks: list[int] = []
        runs: list[tuple[int, int, ServedAdapter]] = []
        for chunk in chunks:
            count, start, one = chunk.stop - chunk.start, len(tokens), chunk.running
            tokens += one.tokens[chunk.start : chunk.stop]
            positions += range(chunk.start, chunk.stop)
            blocks_at += [len(blocks)] * count
            blocks += one.blocks
            adapter = one.request.adapter
            if adapter is None:
                continue
            if runs and runs[-1][2] is adapter:
                start = runs.pop()[0]
            runs.append((start, len(tokens), adapter))
        position_T, at_T = np.array(positions, np.int64), np.array(blocks_at, np.int64)
        block_B = np.array(blocks, np.int32)
        slot_T = block_B[at_T + position_T // BLOCK].astype(np.int64) * BLOCK + position_T % BLOCK
        token_T, seen_T, row_S = np.array(tokens, np.int64), position_T + 1, np.array(rows, np.int64)
        of_fp32 = torch.empty(0, dtype=torch.float32)
        cos, sin = self._decoder.rotary(of_fp32, torch.from_numpy(position_T)[None])
        run_A = np.array([(*bounds, self.prepare(each).ctypes.data) for *bounds, each in runs], np.int64)
        logits_SV = torch.empty(len(rows), self._words, dtype=torch.float32)
        arrays = (token_T, slot_T, seen_T, at_T, block_B)
        step = _Step(
            *(len(tokens), len(runs), len(rows), torch.get_num_threads()),
            *(max((_most_ranks(each) for *_, each in runs), default=0), int(seen_T.max())),
            *(array.ctypes.data for array in arrays),
            *(cos.contiguous().data_ptr(), sin.contiguous().data_ptr()),
            *(run_A.ctypes.data, row_S.ctypes.data, logits_SV.data_ptr()),
        )
        if self._compute(ctypes.byref(self._model), ctypes.byref(step)):
            raise MemoryError("The sampler's step found too little memory")
        return logits_SV

    def prepare(self, adapter: ServedAdapter) -> Ints:
        """Return the adapter's factors as an array of `Factors`, four for each layer."""
        if (table := self._factors.get(adapter)) is None:
            rows = [_fields(adapter.factors.get(group)) for group in self._decoder.groups]
            table = self._factors[adapter] = np.array(rows, np.int64)
        return table


def _matrix(weight: FrozenWeight) -> Tensor:
    """Return the matrix of a weight that is in memory as a whole."""
    assert isinstance(weight, DenseWeight)
    return weight.weight_NK


def _fields(group: GroupFactors | None) -> list[int]:
    """Return the fields of one `Factors`."""
    if group is None:
        return [0] * (4 + 5 * PARTS)
    parts = [
        value
        for part in group.parts
        for value in (*_ends(part.columns), *_ends(part.ranks), part.B_RN.data_ptr())
    ]
    parts += [0] * (5 * PARTS - len(parts))
    e = 0 if group.e_N is None else group.e_N.data_ptr()
    return [group.A_RK.data_ptr(), len(group.A_RK), len(group.parts), *parts, e]


def _ends(of: slice) -> tuple[int, int]:
    return of.start, of.stop


def _most_ranks(adapter: ServedAdapter) -> int:
    return max((len(group.A_RK) for group in adapter.factors.values()), default=0)
