"""Causal attention inside segments of one token axis, with rotary positions, as one autograd function.

PyTorch's flash attention is slow on a CPU at the lengths of chat rows; here the scores of a block of queries
are one batched matrix product per key head. Query heads that share a key head are laid below each other, so
grouped heads cost no copies of keys. Probabilities of short segments are saved, of long ones computed again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

QUERY_BLOCK = 256  # queries a product: less wasted above the diagonal, still large enough to be efficient
SAVED_LENGTH = 1024  # tokens of a segment up to which probabilities are kept for the backward pass


@dataclass(frozen=True)
class Heads:
    """Numbers of query heads and key heads, and the size of each."""

    query: int
    key: int
    size: int

    @property
    def group(self) -> int:
        return self.query // self.key

    @property
    def query_columns(self) -> slice:
        return slice(0, self.query * self.size)

    @property
    def key_columns(self) -> slice:
        return slice(self.query * self.size, (self.query + self.key) * self.size)

    @property
    def value_columns(self) -> slice:
        return slice((self.query + self.key) * self.size, (self.query + 2 * self.key) * self.size)


@dataclass(frozen=True)
class Layout:
    """How the token axis is cut: segments that do not see each other, and each token's rotation."""

    segments: Sequence[tuple[int, int]]  # start and end on the token axis
    cos_TE: Tensor
    sin_TE: Tensor


def segment_attention(qkv_TN: Tensor, heads: Heads, layout: Layout, scale: float) -> Tensor:
    """Attended values, [T, H·E], for queries, keys and values side by side in qkv_TN."""
    return _SegmentAttention.apply(qkv_TN, heads, layout, scale)


def segment_attention_plainly(qkv_TN: Tensor, heads: Heads, layout: Layout, scale: float) -> Tensor:
    """What `segment_attention` must equal: one call of PyTorch's own attention per segment."""
    outputs = []
    for start, end in layout.segments:
        rows = slice(start, end)
        q = _rotate_plainly(_split(qkv_TN[rows, heads.query_columns], heads), layout, rows)
        k = _rotate_plainly(_split(qkv_TN[rows, heads.key_columns], heads), layout, rows)
        v = _split(qkv_TN[rows, heads.value_columns], heads)
        o = F.scaled_dot_product_attention(
            q[None], k[None], v[None], is_causal=True, scale=scale, enable_gqa=True
        )
        outputs.append(o[0].transpose(0, 1).flatten(1))
    return torch.cat(outputs)


class _SegmentAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv_TN, heads, layout, scale):  # type: ignore[no-untyped-def]
        out_TD = qkv_TN.new_empty(qkv_TN.shape[0], heads.query * heads.size)
        saved = []
        for start, end in layout.segments:
            rows = slice(start, end)
            q, k, v = _rotated_heads(qkv_TN, heads, layout, rows)
            out_JGLE = _grouped(out_TD[rows], heads)
            keep = end - start <= SAVED_LENGTH
            for block in _query_blocks(end - start):
                p = _probabilities(q, k, block, scale)
                o = torch.bmm(p, v[:, : block.stop])
                out_JGLE[:, :, block] = o.unflatten(1, (heads.group, -1))
                saved.append(p if keep else None)
        ctx.heads, ctx.layout, ctx.scale = heads, layout, scale
        ctx.save_for_backward(qkv_TN, *saved)
        return out_TD

    @staticmethod
    def backward(ctx, dout_TD):  # type: ignore[no-untyped-def]
        qkv_TN, *saved = ctx.saved_tensors
        heads, layout = ctx.heads, ctx.layout
        probabilities = iter(saved)
        dqkv_TN = torch.empty_like(qkv_TN)
        for start, end in layout.segments:
            rows = slice(start, end)
            q, k, v = _rotated_heads(qkv_TN, heads, layout, rows)
            do_JGLE = _grouped(dout_TD[rows], heads)
            dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
            for block in _query_blocks(end - start):
                seen = slice(0, block.stop)
                p = next(probabilities)
                if p is None:
                    p = _probabilities(q, k, block, ctx.scale)
                do = do_JGLE[:, :, block].flatten(1, 2)
                dp = torch.bmm(do, v[:, seen].transpose(1, 2))
                ds = torch._softmax_backward_data(dp, p, -1, p.dtype)
                dv[:, seen].baddbmm_(p.transpose(1, 2), do)
                dq[:, :, block] = torch.bmm(ds, k[:, seen]).mul_(ctx.scale).unflatten(1, (heads.group, -1))
                q_block = q[:, :, block].flatten(1, 2)
                dk[:, seen].baddbmm_(ds.transpose(1, 2), q_block, alpha=ctx.scale)
            _write_gradient(dqkv_TN, dq, dk, dv, heads, layout, rows)
        return dqkv_TN, None, None, None


def _query_blocks(length: int) -> Iterator[slice]:
    for start in range(0, length, QUERY_BLOCK):
        yield slice(start, min(start + QUERY_BLOCK, length))


def _probabilities(q_JGLE: Tensor, k_JLE: Tensor, block: slice, scale: float) -> Tensor:
    """Softmax of a block's scores over the keys it may see: [J, G·Q, keys]."""
    q = q_JGLE[:, :, block].flatten(1, 2)
    mask = _causal_mask(block, q.dtype, q.device).repeat(q_JGLE.shape[1], 1)
    scores = torch.baddbmm(mask, q, k_JLE[:, : block.stop].transpose(1, 2), alpha=scale)
    return torch.softmax(scores, dim=-1)


def _causal_mask(block: slice, dtype: torch.dtype, device: torch.device) -> Tensor:
    queries = torch.arange(block.start, block.stop, device=device)[:, None]
    keys = torch.arange(block.stop, device=device)[None, :]
    zeros = torch.zeros(queries.shape[0], keys.shape[1], dtype=dtype, device=device)
    return zeros.masked_fill_(keys > queries, float("-inf"))


def _rotated_heads(
    qkv_TN: Tensor, heads: Heads, layout: Layout, rows: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [J, G, L, E], keys and values [J, L, E] of one segment, rotated, contiguous."""
    q = _rotate(_split(qkv_TN[rows, heads.query_columns], heads), layout, rows)
    k = _rotate(_split(qkv_TN[rows, heads.key_columns], heads), layout, rows)
    v = _split(qkv_TN[rows, heads.value_columns], heads).contiguous()
    return q.unflatten(0, (heads.key, heads.group)), k, v


def _write_gradient(  # type: ignore[no-untyped-def]
    dqkv_TN: Tensor, dq: Tensor, dk: Tensor, dv: Tensor, heads: Heads, layout: Layout, rows: slice
):
    _split(dqkv_TN[rows, heads.query_columns], heads).copy_(
        _rotate(dq.flatten(0, 1), layout, rows, back=True)
    )
    _split(dqkv_TN[rows, heads.key_columns], heads).copy_(_rotate(dk, layout, rows, back=True))
    _split(dqkv_TN[rows, heads.value_columns], heads).copy_(dv)


def _split(x_LN: Tensor, heads: Heads) -> Tensor:
    """[L, heads·E] -> [heads, L, E], a view."""
    return x_LN.unflatten(-1, (-1, heads.size)).transpose(0, 1)


def _grouped(x_LD: Tensor, heads: Heads) -> Tensor:
    """[L, H·E] -> [J, G, L, E], a view."""
    return _split(x_LD, heads).unflatten(0, (heads.key, heads.group))


def _rotate(x_HLE: Tensor, layout: Layout, rows: slice, back: bool = False) -> Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv:2104.09864), halves as transformers lays them."""
    cos, sin = layout.cos_TE[rows], layout.sin_TE[rows]
    half = cos.shape[-1] // 2
    cos, sin = cos[:, :half], sin[:, :half]
    if back:
        sin = -sin
    x1, x2 = x_HLE[..., :half], x_HLE[..., half:]
    out = torch.empty(x_HLE.shape, dtype=x_HLE.dtype, device=x_HLE.device)
    torch.mul(x1, cos, out=out[..., :half]).addcmul_(x2, sin, value=-1)
    torch.mul(x2, cos, out=out[..., half:]).addcmul_(x1, sin)
    return out


def _rotate_plainly(x_HLE: Tensor, layout: Layout, rows: slice) -> Tensor:
    """What `_rotate` must equal."""
    x1, x2 = x_HLE.chunk(2, dim=-1)
    return x_HLE * layout.cos_TE[rows] + torch.cat([-x2, x1], dim=-1) * layout.sin_TE[rows]
