"""Adapters as the sampler computes with them: immutable, and named by the hash of their content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from worker.engine.kernels.experts.layer import ExpertUpdate
from worker.engine.kernels.projection import LowRank


@dataclass(frozen=True)
class PackedProjection:
    """One projection of a group: its columns of the output, its ranks among the group's, and s B, [R, N]."""

    columns: slice
    ranks: slice
    B_RN: Tensor


@dataclass(frozen=True)
class GroupFactors:
    """The factors of projections that share an input; A is [ΣR, K].

    The outputs of the whole group are multiplied by 1 + e, if there is an `e_N` (DoRA; `kernels/gain.py`).
    """

    A_RK: Tensor
    projections: Sequence[PackedProjection]
    e_N: Tensor | None = None

    @property
    def nbytes(self) -> int:
        Bs = sum(each.B_RN.nbytes for each in self.projections)
        return self.A_RK.nbytes + Bs + (0 if self.e_N is None else self.e_N.nbytes)

    def add_to(self, y_TN: Tensor, x_TK: Tensor, bias_N: Tensor | None) -> None:
        """Add the update of these rows to y in place, then apply the gain to all but the layers' bias."""
        z_TR = x_TK @ self.A_RK.T
        for projection in self.projections:
            y_TN[:, projection.columns].addmm_(z_TR[:, projection.ranks], projection.B_RN)
        if self.e_N is not None:
            y_TN.addcmul_(y_TN if bias_N is None else y_TN - bias_N, self.e_N)


Factors = Mapping[str, GroupFactors]
"""An adapter's factors by the name of their group of projections."""

ExpertUpdates = Mapping[str, ExpertUpdate]
"""An adapter's updates of experts, each of all tokens, by the names of the experts' weights."""


@dataclass(frozen=True, eq=False)
class ServedAdapter:
    """One adapter that is ready to be used on the resident base model.

    `content_hash` names its content: a cached beginning is found by it, so that two adapters with the same
    name never share one. `nbytes` is the memory that it takes. `why_slow` says why requests for it are
    computed one by one through PEFT; None if they take the fast path. It has either `factors` and updates of
    `experts`, or a `model` of PEFT's or transformers' whose modules have the adapter in them. It acts on all
    tokens, or from the last `invocation` in a prompt on, if there is one.
    """

    content_hash: str
    nbytes: int
    why_slow: str | None = None
    factors: Factors = field(default_factory=dict)
    experts: ExpertUpdates = field(default_factory=dict)
    model: Any = None
    invocation: Sequence[int] = ()


@dataclass(frozen=True)
class UnpackedProjection:
    """One projection's factors before they are laid side by side; a gain is 1 + e."""

    columns: slice
    A_RK: Tensor
    B_NR: Tensor
    scale: float
    e_N: Tensor | None = None


def pack_factors(
    groups: Mapping[str, tuple[int, Sequence[UnpackedProjection]]], dtype: torch.dtype
) -> Factors:
    """Lay the factors of all groups into one flat tensor, in `dtype`.

    `groups` has each group's number of outputs, and its projections in the order of their columns.
    """
    if not groups:
        return {}
    sizes = [
        sum(p.A_RK.numel() + p.B_NR.numel() for p in projections) + _gain_size(n, projections)
        for n, projections in groups.values()
    ]
    device = next(iter(groups.values()))[1][0].A_RK.device
    flat = torch.empty(sum(sizes), dtype=dtype, device=device)
    taken = 0

    def position(*shape: int) -> Tensor:
        nonlocal taken
        start, taken = taken, taken + prod(shape)
        return flat[start:taken].view(shape)

    made = {}
    for name, (outputs, projections) in groups.items():
        A_RK = position(sum(len(p.A_RK) for p in projections), projections[0].A_RK.shape[1])
        torch.cat([p.A_RK.to(dtype) for p in projections], out=A_RK)
        laid, ranks = [], 0
        for p in projections:
            B_RN = position(p.B_NR.shape[1], p.B_NR.shape[0])
            B_RN.copy_(p.B_NR.T.float() * p.scale)
            laid.append(PackedProjection(p.columns, slice(ranks, ranks + len(B_RN)), B_RN))
            ranks += len(B_RN)
        e_N = None
        if size := _gain_size(outputs, projections):
            e_N = position(size).zero_()
            for p in projections:
                if p.e_N is not None:
                    e_N[p.columns] = p.e_N
        made[name] = GroupFactors(A_RK, laid, e_N)
    return made


def factors_in_training(
    low_ranks: Mapping[str, LowRank], outputs: Mapping[str, int], dtype: torch.dtype
) -> Factors:
    """Return a copy of the present factors of an adapter that trains."""
    groups = {}
    for name, low_rank in low_ranks.items():
        projections, gains = [], iter(low_rank.gains)
        for each, B_NR in zip(low_rank.projections, low_rank.Bs_NR, strict=True):
            e_N = None if each.gain is None else next(gains).e_N
            A_RK = low_rank.A_RK[each.ranks]
            projections.append(UnpackedProjection(each.columns, A_RK, B_NR, each.scale, e_N))
        groups[name] = outputs[name], projections
    return pack_factors(groups, dtype)


def _gain_size(outputs: int, projections: Sequence[UnpackedProjection]) -> int:
    return outputs if any(p.e_N is not None for p in projections) else 0
