"""Calls the step in C, over the decoder's weights and the pool."""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from worker.engine.decoders.architecture import UNROTATED, embedding_scale
from worker.engine.decoders.fast import Decoder
from worker.engine.decoders.head import capped
from worker.engine.kernels.elementwise import GELU
from worker.engine.kernels.rotation import Pairs
from worker.engine.native.build import library
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.fast.block_pool import BLOCK
from worker.engine.sampler.fast.native.structures import (
    Ints,
    LayerTable,
    Model,
    Step,
    as_fp32,
    factors,
)
from worker.engine.sampler.fast.native.weights import Held, address, held, held_words
from worker.engine.sampler.running import Chunk

SOURCE = Path(__file__).with_name("step.c")
LANES, TILE = 16, 256  # of numbers.h and products.h


class NativeStep:
    """The step in C over one decoder's weights and the pool of each layer, [2, slots, J, E]."""

    def __init__(self, step: Any, decoder: Decoder, pool: Sequence[Tensor], weights: "_Weights") -> None:
        self._compute = step.compute_step
        self.has_pairs = bool(step.has_pairs())
        """Whether its products are at least as fast as PyTorch's, however many tokens there are"""
        self._decoder, self._weights = decoder, weights
        self._words = len(decoder.head.layer.weight)
        self._factors: WeakKeyDictionary[ServedAdapter, Ints] = WeakKeyDictionary()
        # One kind of attention for each rotation
        self._rotations = {layer.kind.rotation: layer.kind for layer in decoder.layers}
        self._layers = LayerTable(decoder.layers, weights.groups, pool, list(self._rotations))
        self._final_norm_D = as_fp32(decoder.final_norm_D)
        first = decoder.layers[0]
        heads = first.heads
        (pairs,) = _rotated_pairs(decoder)
        inner = first.groups[f"{first.name}.down"].weight.shape[1]
        self._ends = np.array([weights.embedding.fields, weights.head.fields], np.int64)
        self._model = Model(
            *(len(decoder.layers), len(self._final_norm_D), inner, heads.query, heads.key, heads.size),
            *(self._words, BLOCK, first.activation is GELU),
            *(pairs.count, pairs.interleaved),
            *(
                *(rows.ctypes.data for rows in self._ends),
                self._final_norm_D.data_ptr(),
                self._layers.address,
            ),
            *(decoder.eps, decoder.embedding_multiplier * embedding_scale(decoder.embedding)),
            *(first.scale, first.kind.softcap or 0, first.added_times),
        )

    @classmethod
    def for_pool(cls, decoder: Decoder, pool: Sequence[Tensor]) -> "NativeStep | None":
        """Return the step in C if it can be built and its shapes fit the decoder, else None."""
        dtype = decoder.dtype
        fits = (
            decoder.device.type == "cpu"
            and dtype in (torch.bfloat16, torch.float32)
            and not any(group.weight.shape[1] % LANES for group in decoder.groups.values())
            and _has_only_its_features(decoder)
        )
        weights = _Weights.of(decoder) if fits else None
        step = library(SOURCE, dtype == torch.bfloat16) if weights else None
        return None if step is None or weights is None else cls(step, decoder, pool, weights)

    def logits(self, chunks: Sequence[Chunk], rows: Sequence[int]) -> Tensor:
        """Compute the chunks' tokens, and return the logits of these rows of the token axis, [S, V]."""
        tokens: list[int] = []
        positions: list[int] = []
        blocks_at: list[int] = []
        blocks: list[int] = []
        spans: list[tuple[int, int, ServedAdapter]] = []
        for chunk in chunks:
            count, start, one = chunk.stop - chunk.start, len(tokens), chunk.running
            tokens += chunk.tokens
            positions += range(chunk.start, chunk.stop)
            blocks_at += [len(blocks)] * count
            blocks += one.blocks
            adapter = chunk.adapter
            if adapter is None:
                continue
            if spans and spans[-1][2] is adapter:
                start = spans.pop()[0]
            spans.append((start, len(tokens), adapter))
        position_T, at_T = np.array(positions, np.int64), np.array(blocks_at, np.int64)
        block_B = np.array(blocks, np.int32)
        slot_T = block_B[at_T + position_T // BLOCK].astype(np.int64) * BLOCK + position_T % BLOCK
        token_T, seen_T, row_S = np.array(tokens, np.int64), position_T + 1, np.array(rows, np.int64)
        of_fp32 = torch.empty(0, dtype=torch.float32)
        position = torch.from_numpy(position_T)
        rotations = [self._decoder.rotation(kind, of_fp32, position) for kind in self._rotations.values()]
        cos_RTE, sin_RTE = (torch.stack(each) for each in zip(*rotations, strict=True))
        query_scale_T1 = self._decoder.query_scale(position, of_fp32)
        span_A = np.array([(*bounds, self.prepare(each).ctypes.data) for *bounds, each in spans], np.int64)
        logits_SV = torch.empty(len(rows), self._words, dtype=torch.float32)
        arrays = (token_T, slot_T, seen_T, at_T, block_B)
        step = Step(
            *(len(tokens), len(spans), len(rows), torch.get_num_threads()),
            *(max((_most_ranks(each) for *_, each in spans), default=0), int(seen_T.max())),
            *(array.ctypes.data for array in arrays),
            *(cos_RTE.data_ptr(), sin_RTE.data_ptr(), address(query_scale_T1)),
            *(span_A.ctypes.data, row_S.ctypes.data, logits_SV.data_ptr()),
        )
        if self._compute(ctypes.byref(self._model), ctypes.byref(step)):
            raise MemoryError("The sampler's step found too little memory")
        return capped(self._decoder.head.scaled(logits_SV), self._decoder.softcap)

    def prepare(self, adapter: ServedAdapter) -> Ints:
        """Return the adapter's factors as an array of `Factors`, four for each layer."""
        if (table := self._factors.get(adapter)) is None:
            rows = [factors(adapter.factors.get(group)) for group in self._decoder.groups]
            table = self._factors[adapter] = np.array(rows, np.int64)
        return table


@dataclass(frozen=True)
class _Weights:
    """A decoder's weights as the step in C reads them; those of layers by the name of their group."""

    groups: Mapping[str, Held]
    embedding: Held
    head: Held

    @classmethod
    def of(cls, decoder: Decoder) -> "_Weights | None":
        """Return them if C has a form for each."""
        held_groups = {name: held(group.weight, decoder.dtype) for name, group in decoder.groups.items()}
        groups = {name: each for name, each in held_groups.items() if each is not None}
        embedding, head = (
            held_words(each, decoder.dtype) for each in (decoder.embedding, decoder.head.layer)
        )
        if len(groups) < len(held_groups) or embedding is None or head is None:
            return None
        return cls(groups, embedding, head)


def _has_only_its_features(decoder: Decoder) -> bool:
    """Return whether the step has what the layers differ in: norms, windows and rotations."""
    layers, heads = decoder.layers, decoder.layers[0].heads
    alike = {
        (each.heads, each.kind.softcap, each.added_times, each.scale, each.activation) for each in layers
    }
    plain = (
        each.norms.queries_N is each.output_scale_1 is each.sinks_H is None and not each.borrows
        for each in layers
    )
    return (
        len(alike) == len(_rotated_pairs(decoder)) == 1
        and decoder.own_inputs is None
        and not decoder.experts
        and not any(each.keys_are_values for each in layers)
        and all(plain)
        and heads.size <= TILE
        and heads.size % LANES == 0
        and len({each.groups[f"{each.name}.down"].weight.shape for each in layers}) == 1
        and all(
            each.norms.heads_HE is None or len(each.norms.heads_HE) == heads.query + heads.key
            for each in layers
        )
    )


def _rotated_pairs(decoder: Decoder) -> set[Pairs]:
    """Return the pairs of each rotation. Where none is rotated, all angles are zero, whatever the pairs."""
    rotated = {pairs for kind, pairs in decoder.pairs.items() if kind.rotation != UNROTATED}
    return rotated or set(decoder.pairs.values())


def _most_ranks(adapter: ServedAdapter) -> int:
    return max((len(group.A_RK) for group in adapter.factors.values()), default=0)
