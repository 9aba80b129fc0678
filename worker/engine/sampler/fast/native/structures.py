"""The structures of `structures.h`, filled from the decoder's layers and from adapters."""

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import c_float, c_int64, c_void_p
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worker.engine.decoders.architecture import GROUPS
from worker.engine.decoders.layer import Layer
from worker.engine.sampler.adapters.served import GroupFactors
from worker.engine.sampler.fast.native.weights import PROJECTIONS, Held, address

Ints = np.ndarray[Any, np.dtype[np.int64]]


def _declared(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class Model(ctypes.Structure):
    _fields_ = (
        *_declared(c_int64, "layers hidden inner heads key_heads size words block gelu"),
        *_declared(c_int64, "rotated interleaved"),
        *_declared(c_void_p, "embedding head final_norm layer"),
        *_declared(c_float, "eps embedding_scale score_scale softcap added_times"),
    )


class Step(ctypes.Structure):
    _fields_ = (
        *_declared(c_int64, "tokens spans wanted threads most_ranks longest"),
        *_declared(c_void_p, "token slot seen blocks_at blocks cos sin query_scale span row logits"),
    )


class LayerTable:
    """An array of `Layer`, which reads the decoder's own weights; norms are copied to fp32.

    `weights` are those of groups, by name. `pool` has each layer's keys and values, [2, slots, J, E].
    `rotations` are the names of the rotations, in the order in which a step has them.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        weights: Mapping[str, Held],
        pool: Sequence[Tensor],
        rotations: Sequence[str | None],
    ) -> None:
        self._weights = weights
        self._norms: list[Tensor] = []  # the array has their addresses alone
        rows = [
            (
                *self._norms_of(layer),
                *(field for key in GROUPS for field in weights[f"{layer.name}.{key}"].fields),
                *(part.data_ptr() for part in kv),
                *(layer.kind.window or 0, rotations.index(layer.kind.rotation)),
            )
            for layer, kv in zip(layers, pool, strict=True)
        ]
        self._array = np.array(rows, np.int64)

    @property
    def address(self) -> int:
        return self._array.ctypes.data

    def _norms_of(self, layer: Layer) -> list[int]:
        norms = layer.norms
        around = norms.before_attention_D, norms.before_mlp_D, norms.after_attention_D, norms.after_mlp_D
        read = [None if norm is None else as_fp32(norm) for norm in (*around, norms.heads_HE)]
        self._norms += [norm for norm in read if norm is not None]
        return [address(norm) for norm in read]


def as_fp32(norm: Tensor) -> Tensor:
    """Return a norm's weight as the step reads it, in fp32."""
    return norm.detach().to(torch.float32).contiguous()


def factors(group: GroupFactors | None) -> list[int]:
    """Return the fields of one `Factors`."""
    if group is None:
        return [0] * (4 + 5 * PROJECTIONS)
    projections = [
        value
        for projection in group.projections
        for value in (*_ends(projection.columns), *_ends(projection.ranks), projection.B_RN.data_ptr())
    ]
    projections += [0] * (5 * PROJECTIONS - len(projections))
    return [group.A_RK.data_ptr(), len(group.A_RK), len(group.projections), *projections, address(group.e_N)]


def _ends(of: slice) -> tuple[int, int]:
    return of.start, of.stop
