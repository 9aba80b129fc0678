"""The one place where the device decides how the parts of a forward pass are computed.

A CPU takes the hand-written functions. A GPU takes FlexAttention, grouped products, and elementwise kernels
that are compiled from the plain twins. If something that these need is missing, a GPU takes the CPU's
functions instead.
"""

import shutil
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import prod
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._triton import has_triton

from core.estimates.workspace import CHUNK_TOKENS
from worker.engine.batch.dropout import dropped
from worker.engine.batch.shared_keys import LaneInLayer
from worker.engine.kernels import flex_attention, grouped, lora_layers, projection, transformers_attention
from worker.engine.kernels.attention import Layout, segment_attention
from worker.engine.kernels.elementwise import (
    GELU,
    SILU,
    Activation,
    LeftToAutograd,
    rms_norm,
    rms_norm_plainly,
    swiglu_plainly,
)
from worker.engine.kernels.fp8.products import Fp8Rows, fp8_product, fp8_product_plainly, round_to_fp8
from worker.engine.kernels.frozen_weight import FrozenWeight
from worker.engine.kernels.loss import BY_BLOCKS, BlockLosses, in_one_kernel
from worker.engine.kernels.projection import Drop, Share
from worker.engine.kernels.transformers_attention import Attend, SegmentLayout

SMALLEST_HEAD = 16  # the smallest head size that FlexAttention takes
GROUPED_BELOW = 8e9
"""Multiplications of a frozen product for each adapter. An H100 needs as long for so many, forward and
backward, as the host for the seven kernels of one adapter. Beyond, grouped products only move more bytes."""

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


class SegmentAttention(Protocol):
    """The signature of `attention.segment_attention`."""

    def __call__(
        self,
        qkv_TN: Tensor,
        layout: Layout,
        scale: float,
        lane: LaneInLayer | None = None,
        sinks_H: Tensor | None = None,
        /,
    ) -> Tensor: ...


class ProjectSwiGlu(Protocol):
    """The signature of `projection.project_swiglu`."""

    def __call__(
        self,
        gate_up_TI: Tensor,
        W: FrozenWeight,
        shares: Sequence[Share],
        /,
        *,
        activation: Activation = SILU,
    ) -> Tensor: ...


@dataclass(frozen=True)
class Operations:
    """The operations that devices compute in different ways. Each has a plain twin with the same result.

    `project_swiglu_again` stands in the place of `project_swiglu` where a block ends that is computed again.
    """

    norm: Callable[[Tensor, Tensor, float], Tensor]
    segment_attention: SegmentAttention
    project: Callable[[Tensor, FrozenWeight, Sequence[Share]], Tensor]
    project_norm: Callable[[Tensor, Tensor, float, FrozenWeight, Sequence[Share]], Tensor]
    project_swiglu: ProjectSwiGlu
    project_swiglu_again: ProjectSwiGlu
    drop: Drop
    block_losses: BlockLosses
    round_to_fp8: Callable[[Tensor, Tensor | None], Fp8Rows]
    fp8_product: Callable[[Fp8Rows, Tensor, Tensor, Tensor | None], Tensor]
    # The next two are for transformers' modules
    add_low_rank: Callable[[Tensor, Tensor, Sequence[Share]], Tensor]
    attend: Attend


ON_CPU = Operations(
    norm=rms_norm,
    segment_attention=segment_attention,
    project=projection.project,
    project_norm=projection.project_norm,
    project_swiglu=projection.project_swiglu,
    project_swiglu_again=projection.project_swiglu_again,
    drop=dropped,
    block_losses=BY_BLOCKS,
    round_to_fp8=round_to_fp8,
    fp8_product=fp8_product_plainly,
    add_low_rank=lora_layers.add_low_rank,
    attend=transformers_attention.by_segments,
)


@cache
def operations_on(device: torch.device) -> Operations:
    """Return the operations that `device` computes with."""
    if device.type != "cuda" or not can_compile():
        return ON_CPU
    return on_gpu(torch.compile, grouped.has_kernel(device))


def can_compile() -> bool:
    """Return whether torch.compile finds its tools for a GPU: Triton, a C compiler, and Python's headers."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return has_triton() and headers.exists() and any(map(shutil.which, ("gcc", "clang", "cc")))


def on_gpu(compiled: Compile, has_grouped_products: bool = True) -> Operations:
    """Return a GPU's operations: FlexAttention, grouped products, and plain elementwise functions.

    `compiled` compiles them, as `torch.compile` does. Without grouped products, for a single adapter, for
    products beyond GROUPED_BELOW, and if an adapter drops inputs or has gains, a loop goes over the adapters,
    with the same elementwise kernels.
    """
    norm = _for_any_length(compiled(rms_norm_plainly))
    gates = {
        activation: _for_any_length(compiled(partial(swiglu_plainly, activation=activation)))
        for activation in (SILU, GELU)
    }
    attended = compiled(flex_attention.attended)
    attended_by_heads = compiled(flex_attention.attended_by_heads)

    def attention(
        qkv_TN: Tensor,
        layout: Layout,
        scale: float,
        lane: LaneInLayer | None = None,
        sinks_H: Tensor | None = None,
        /,
    ) -> Tensor:
        if layout.heads.size < SMALLEST_HEAD:
            return segment_attention(qkv_TN, layout, scale, lane, sinks_H)
        rotation = layout.cos_TE, layout.sin_TE, layout.query_scale_T1
        kind = layout.heads, layout.pairs, scale, layout.softcap
        return attended(qkv_TN, *rotation, layout.block_mask, *kind, sinks_H)

    def in_groups(multiplications: int, shares: Sequence[Share]) -> bool:
        if not has_grouped_products or len(shares) < 2 or multiplications > GROUPED_BELOW * len(shares):
            return False
        return all(share.is_plain for share in shares)

    def project(x_TK: Tensor, W: FrozenWeight, shares: Sequence[Share]) -> Tensor:
        groups = in_groups(len(x_TK) * prod(W.shape), shares)
        return (grouped if groups else projection).project(x_TK, W, shares)

    def project_norm(
        x_TK: Tensor, weight_K: Tensor, eps: float, W: FrozenWeight, shares: Sequence[Share]
    ) -> Tensor:
        if in_groups(len(x_TK) * prod(W.shape), shares):
            return grouped.project(norm(x_TK, weight_K, eps), W, shares)
        normed = LeftToAutograd(lambda x_TK: norm(x_TK, weight_K, eps))
        return projection.project_values(normed, x_TK, W, shares)

    def project_swiglu(
        gate_up_TI: Tensor,
        W: FrozenWeight,
        shares: Sequence[Share],
        activation: Activation = SILU,
        with_values: bool = True,
    ) -> Tensor:
        if in_groups(len(gate_up_TI) * prod(W.shape), shares):
            return grouped.project_values(gates[activation], gate_up_TI, W, shares)
        gate = LeftToAutograd(gates[activation])
        return projection.project_values(gate, gate_up_TI, W, shares, with_values=with_values)

    def add_low_rank(y: Tensor, x: Tensor, shares: Sequence[Share]) -> Tensor:
        return (grouped if in_groups(x.numel() * y.shape[-1], shares) else lora_layers).add_low_rank(
            y, x, shares
        )

    def attend(
        q_HTE: Tensor,
        k_JTE: Tensor,
        v_JTE: Tensor,
        layout: SegmentLayout,
        scale: float,
        window: int | None,
        softcap: float | None,
        sinks_H: Tensor | None,
    ) -> Tensor:
        mask = layout.block_mask(window)
        return attended_by_heads(q_HTE, k_JTE, v_JTE, mask, scale, softcap, sinks_H)

    return Operations(
        norm=norm,
        segment_attention=attention,
        project=project,
        project_norm=project_norm,
        project_swiglu=project_swiglu,
        project_swiglu_again=partial(project_swiglu, with_values=False),
        drop=_for_any_length(compiled(dropped), by_token=2),
        block_losses=BlockLosses(CHUNK_TOKENS, _for_any_length(compiled(in_one_kernel), by_token=3)),
        round_to_fp8=_for_any_length(compiled(round_to_fp8)),
        fp8_product=fp8_product,
        add_low_rank=add_low_rank,
        attend=attend,
    )


def _for_any_length(function: Callable[..., Any], by_token: int = 1) -> Callable[..., Any]:
    """Return the function with a dynamic number of tokens, so that it is compiled once for all numbers.

    The first `by_token` arguments begin with the axis of the tokens. This is not needed for attention:
    PyTorch itself finds the two to four compilations that attention needs.
    """

    def call(*arguments: Any) -> Any:
        for tensor in arguments[:by_token]:
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return function(*arguments)

    return call
