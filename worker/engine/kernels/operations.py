"""The one place where the device decides how the parts of a forward pass are computed.

A CPU takes the hand-written functions. A GPU takes FlexAttention, grouped products, and elementwise parts
that are compiled from the plain twins. If something that these need is missing, a GPU takes the CPU's
functions instead.
"""

import shutil
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._triton import has_triton

from worker.engine.batch.exchange import LaneInLayer
from worker.engine.kernels import flex_attention, grouped, lora_layers, projection, transformers_attention
from worker.engine.kernels.attention import Layout, segment_attention
from worker.engine.kernels.elementwise import (
    GELU,
    SILU,
    Activation,
    rms_norm,
    rms_norm_plainly,
    swiglu_plainly,
)
from worker.engine.kernels.frozen_weight import FrozenWeight
from worker.engine.kernels.projection import Share
from worker.engine.kernels.transformers_attention import Attend, SegmentLayout

SMALLEST_HEAD = 16  # the smallest head size that FlexAttention takes
GROUPED_KERNEL = {9, 10}  # major compute capabilities; on other GPUs PyTorch loops, and waits for the GPU

Compile = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]


class SegmentAttention(Protocol):
    """The signature of `attention.segment_attention`."""

    def __call__(
        self, qkv_TN: Tensor, layout: Layout, scale: float, lane: LaneInLayer | None = None, /
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
    add_low_rank=lora_layers.add_low_rank,
    attend=transformers_attention.by_segments,
)


@cache
def operations_on(device: torch.device) -> Operations:
    """Return the operations that `device` computes with."""
    if device.type != "cuda" or not can_compile():
        return ON_CPU
    operations = on_gpu(torch.compile)
    if torch.cuda.get_device_capability(device)[0] not in GROUPED_KERNEL:
        return with_loops(operations)
    return operations


def can_compile() -> bool:
    """Return whether torch.compile finds its tools for a GPU: Triton, a C compiler, and Python's headers."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return has_triton() and headers.exists() and any(map(shutil.which, ("gcc", "clang", "cc")))


def on_gpu(compiled: Compile) -> Operations:
    """Return a GPU's operations: FlexAttention, grouped products, and plain elementwise functions.

    `compiled` compiles them, as `torch.compile` does.
    """
    norm = _for_any_length(compiled(rms_norm_plainly))
    gates = {
        activation: _for_any_length(compiled(partial(swiglu_plainly, activation=activation)))
        for activation in (SILU, GELU)
    }
    attended = compiled(flex_attention.attended)
    attended_by_heads = compiled(flex_attention.attended_by_heads)

    def attention(qkv_TN: Tensor, layout: Layout, scale: float, lane: LaneInLayer | None = None, /) -> Tensor:
        if layout.heads.size < SMALLEST_HEAD:
            return segment_attention(qkv_TN, layout, scale, lane)
        return attended(qkv_TN, layout.cos_TE, layout.sin_TE, layout.block_mask, layout.heads, scale)

    def project_norm(
        x_TK: Tensor, weight_K: Tensor, eps: float, W: FrozenWeight, shares: Sequence[Share]
    ) -> Tensor:
        return grouped.project(norm(x_TK, weight_K, eps), W, shares)

    def project_swiglu(
        gate_up_TI: Tensor, W: FrozenWeight, shares: Sequence[Share], activation: Activation = SILU
    ) -> Tensor:
        return grouped.project_values(gates[activation], gate_up_TI, W, shares)

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
        return attended_by_heads(q_HTE, k_JTE, v_JTE, layout.block_mask(window), scale, softcap, sinks_H)

    return Operations(
        norm=norm,
        segment_attention=attention,
        project=_where_plain(ON_CPU.project, grouped.project),
        project_norm=_where_plain(ON_CPU.project_norm, project_norm),
        project_swiglu=_where_plain(ON_CPU.project_swiglu, project_swiglu),
        project_swiglu_again=_where_plain(ON_CPU.project_swiglu_again, project_swiglu),
        add_low_rank=_where_plain(ON_CPU.add_low_rank, grouped.add_low_rank),
        attend=attend,
    )


def with_loops(operations: Operations) -> Operations:
    """Return the operations with a loop over the adapters in the place of grouped products."""
    return replace(
        operations,
        project=ON_CPU.project,
        project_norm=ON_CPU.project_norm,
        project_swiglu=ON_CPU.project_swiglu,
        project_swiglu_again=ON_CPU.project_swiglu_again,
        add_low_rank=ON_CPU.add_low_rank,
    )


def _where_plain(
    loop: Callable[..., Tensor], grouped_products: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    """Return a function that takes grouped products if all shares, its last positional argument, are plain.

    It takes the loop over the adapters if one of the shares drops inputs or has gains.
    """

    def call(*arguments: Any, **options: Any) -> Tensor:
        plain = all(share.is_plain for share in arguments[-1])
        return (grouped_products if plain else loop)(*arguments, **options)

    return call


def _for_any_length(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the function with a dynamic number of tokens, so that it is compiled once for all numbers.

    This is not needed for attention: PyTorch itself finds the two to four compilations that attention needs.
    """

    def call(x_TD: Tensor, *rest: Any) -> Tensor:
        torch._dynamo.maybe_mark_dynamic(x_TD, 0)
        return function(x_TD, *rest)

    return call
