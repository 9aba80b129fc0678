"""Attention over segments by FlexAttention: one kernel for all segments, prefixes and heads of a micro-batch.

The functions are written for `torch.compile`, which takes the rotation into the kernel too. Uncompiled they
compute the same values, but slowly and with all scores in memory.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import (
    AuxOutput,
    AuxRequest,
    BlockMask,
    FlexKernelOptions,
    flex_attention,
)

from worker.engine.kernels.attention import Heads
from worker.engine.kernels.rotation import Pairs

WIDE = 128  # numbers of a head, beyond which PyTorch's own tiles are too large


def kernel_options(size: int) -> FlexKernelOptions:
    """Return the options of the kernels for heads of this size.

    For short axes PyTorch would choose another kernel, which is made for decoding. Its own tiles of wide
    heads do not fit into the memory of an RTX 4090's blocks, and an A100 has no registers for them.
    """
    options: dict[str, object] = {"BACKEND": "TRITON"}
    if size > WIDE:
        sides = ("fwd_BLOCK_N", *(f"bwd_BLOCK_{side}" for side in ("M1", "N1", "M2", "N2")))
        options |= dict.fromkeys(sides, 32)
    return cast(FlexKernelOptions, options)


def attended(
    qkv_TN: Tensor,
    cos_TE: Tensor,
    sin_TE: Tensor,
    query_scale_T1: Tensor | None,
    mask: BlockMask,
    heads: Heads,
    pairs: Pairs,
    scale: float,
    softcap: float | None,
    sinks_H: Tensor | None,
) -> Tensor:
    """Return the attended values, [T, H·E], for queries, keys and values side by side in qkv_TN.

    The queries and keys are not rotated yet. The plain twin is `attention.segment_attention_plainly`.
    """
    q_HTE = _by_heads(qkv_TN[:, heads.query_columns], heads.query)
    k_JTE = _by_heads(qkv_TN[:, heads.key_columns], heads.key)
    v_JTE = _by_heads(qkv_TN[:, heads.value_columns], heads.key)
    q_HTE, k_JTE = (pairs.rotated(x, cos_TE, sin_TE) for x in (q_HTE, k_JTE))
    if query_scale_T1 is not None:
        q_HTE = q_HTE * query_scale_T1
    return attended_by_heads(q_HTE, k_JTE, v_JTE, mask, scale, softcap, sinks_H).flatten(1)


def attended_by_heads(
    q_HTE: Tensor,
    k_JTE: Tensor,
    v_JTE: Tensor,
    mask: BlockMask,
    scale: float,
    softcap: float | None,
    sinks_H: Tensor | None,
) -> Tensor:
    """Return the attended values, [T, H, E], for rotated heads.

    The plain twin is `transformers_attention.by_segments`. A sink takes its share of the softmax and adds no
    value, so the output with a sink is

        softmax(s) v · Σ exp s / (Σ exp s + exp sink)  =  softmax(s) v · sigmoid(log Σ exp s − sink)
    """

    def capped(score: Tensor, *_: Tensor) -> Tensor:
        assert softcap is not None
        return torch.tanh(score / softcap) * softcap

    found = flex_attention(
        q_HTE[None],
        k_JTE[None],
        v_JTE[None],
        score_mod=None if softcap is None else capped,
        block_mask=mask,
        scale=scale,
        enable_gqa=True,
        return_aux=None if sinks_H is None else AuxRequest(lse=True),
        kernel_options=kernel_options(q_HTE.shape[-1]),
    )
    if sinks_H is None:
        return cast(Tensor, found)[0].transpose(0, 1)
    out_HTE, aux = cast(tuple[Tensor, AuxOutput], found)
    assert aux.lse is not None
    kept_HT = torch.sigmoid(aux.lse[0] - sinks_H[:, None])
    return (out_HTE[0] * kept_HT[..., None].to(out_HTE.dtype)).transpose(0, 1)


def _by_heads(x_TN: Tensor, heads: int) -> Tensor:
    """Return a view with an axis for the heads: [T, heads · E] -> [heads, T, E]."""
    return x_TN.unflatten(1, (heads, -1)).transpose(0, 1)
