"""Causal attention of segments on one token axis, with rotary positions, as one autograd function.

PyTorch's flash attention is slow on a CPU at the lengths of chat rows; here the scores of a block of queries
are one batched matrix product per key head. Query heads that share a key head are laid below each other, so
grouped heads cost no copies of keys. Probabilities of short segments are saved, of long ones computed again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.layout import Segment

QUERY_BLOCK = 256  # queries a product: less wasted above the diagonal, still large enough to be efficient
SAVED_LENGTH = 1024  # keys that a segment sees, up to which probabilities are kept for the backward pass


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
    """How the token axis is cut: segments that do not see each other, and each token's rotation.

    One layout serves all layers of a micro-batch, and with it the masks that they share.
    """

    segments: Sequence[Segment]
    cos_TE: Tensor
    sin_TE: Tensor
    _masks: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)

    def causal_mask(self, seen_before: int, block: slice, group: int) -> Tensor:
        """0 where a query of a segment's block may see a key, else -inf: [G·Q, keys].

        The keys are the `seen_before` ones of the prefix, and the segment's own up to the block's end.
        """
        key = (seen_before, block.start, block.stop)
        if key not in self._masks:
            device = self.cos_TE.device
            queries = torch.arange(block.start, block.stop, device=device)[:, None] + seen_before
            hidden = torch.arange(seen_before + block.stop, device=device)[None, :] > queries
            mask = torch.zeros(hidden.shape, dtype=self.cos_TE.dtype, device=device)
            self._masks[key] = mask.masked_fill_(hidden, float("-inf")).repeat(group, 1)
        return self._masks[key]


def segment_attention(qkv_TN: Tensor, heads: Heads, layout: Layout, scale: float) -> Tensor:
    """Attended values, [T, H·E], for queries, keys and values side by side in qkv_TN."""
    return _SegmentAttention.apply(qkv_TN, heads, layout, scale)


def segment_attention_plainly(qkv_TN: Tensor, heads: Heads, layout: Layout, scale: float) -> Tensor:
    """What `segment_attention` must equal: one call of PyTorch's own attention per segment."""
    q_HTE = _rotate_plainly(_split(qkv_TN[:, heads.query_columns], heads), layout)
    k_JTE = _rotate_plainly(_split(qkv_TN[:, heads.key_columns], heads), layout)
    v_JTE = _split(qkv_TN[:, heads.value_columns], heads)
    outputs = []
    for segment in layout.segments:
        q = q_HTE[:, segment.start : segment.end]
        k, v = (torch.cat([t[:, start:end] for start, end in segment.seen], dim=1) for t in (k_JTE, v_JTE))
        visible = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
        o = F.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=visible, scale=scale, enable_gqa=True
        )
        outputs.append(o[0].transpose(0, 1).flatten(1))
    return torch.cat(outputs)


class _SegmentAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv_TN, heads, layout, scale):  # type: ignore[no-untyped-def]
        rotated_TN = _rotate(qkv_TN, heads, layout)
        out_TD = qkv_TN.new_empty(qkv_TN.shape[0], heads.query * heads.size)
        saved = []
        for segment in layout.segments:
            q, k, v = _by_heads(rotated_TN, segment, heads)
            out_JGLE = _grouped(out_TD[segment.start : segment.end], heads)
            keep = segment.prefix_length + segment.length <= SAVED_LENGTH
            for block in _query_blocks(segment):
                p = _probabilities(q, k, block, layout, scale)
                o = torch.bmm(p, v[:, : block.keys])
                out_JGLE[:, :, block.queries] = o.unflatten(1, (heads.group, -1))
                saved.append(p if keep else None)
        ctx.heads, ctx.layout, ctx.scale = heads, layout, scale
        ctx.save_for_backward(rotated_TN, *saved)
        return out_TD

    @staticmethod
    def backward(ctx, dout_TD):  # type: ignore[no-untyped-def]
        rotated_TN, *saved = ctx.saved_tensors
        heads, layout = ctx.heads, ctx.layout
        probabilities = iter(saved)
        drotated_TN = torch.empty_like(rotated_TN)
        # In fp32, since every segment that sees a key adds to its gradient
        dk_TD, dv_TD = rotated_TN.new_zeros(2, len(rotated_TN), heads.key * heads.size, dtype=torch.float32)
        for segment in layout.segments:
            own = slice(segment.start, segment.end)
            q, k, v = _by_heads(rotated_TN, segment, heads)
            do_JGLE = _grouped(dout_TD[own], heads)
            dq_JGLE = _grouped(drotated_TN[own, heads.query_columns], heads)
            dk, dv = torch.zeros_like(k), torch.zeros_like(v)
            for block in _query_blocks(segment):
                seen = slice(0, block.keys)
                p = next(probabilities)
                if p is None:
                    p = _probabilities(q, k, block, layout, ctx.scale)
                do = do_JGLE[:, :, block.queries].flatten(1, 2)
                dp = torch.bmm(do, v[:, seen].transpose(1, 2))
                ds = torch._softmax_backward_data(dp, p, -1, p.dtype).mul_(ctx.scale)
                dv[:, seen].baddbmm_(p.transpose(1, 2), do)
                dk[:, seen].baddbmm_(ds.transpose(1, 2), q[:, :, block.queries].flatten(1, 2))
                dq_JGLE[:, :, block.queries] = torch.bmm(ds, k[:, seen]).unflatten(1, (heads.group, -1))
            _add_to_seen(dk_TD, dk, segment, heads)
            _add_to_seen(dv_TD, dv, segment, heads)
        drotated_TN[:, heads.key_columns] = dk_TD
        drotated_TN[:, heads.value_columns] = dv_TD
        return _rotate(drotated_TN, heads, layout, back=True), None, None, None


@dataclass(frozen=True)
class _Block:
    """Queries of a segment, and how many of the keys that it sees the last of them sees."""

    queries: slice
    prefix: int

    @property
    def keys(self) -> int:
        return self.prefix + self.queries.stop


def _query_blocks(segment: Segment) -> Iterator[_Block]:
    for start in range(0, segment.length, QUERY_BLOCK):
        yield _Block(slice(start, min(start + QUERY_BLOCK, segment.length)), segment.prefix_length)


def _probabilities(q_JGLE: Tensor, k_JLE: Tensor, block: _Block, layout: Layout, scale: float) -> Tensor:
    """Softmax of a block's scores over the keys it may see: [J, G·Q, keys]."""
    q = q_JGLE[:, :, block.queries].flatten(1, 2)
    mask = layout.causal_mask(block.prefix, block.queries, q_JGLE.shape[1])
    return torch.softmax(torch.baddbmm(mask, q, k_JLE[:, : block.keys].transpose(1, 2), alpha=scale), dim=-1)


def _by_heads(rotated_TN: Tensor, segment: Segment, heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    """A segment's queries [J, G, L, E], and the keys and values that it sees [J, L, E], contiguous."""
    q = _grouped(rotated_TN[segment.start : segment.end, heads.query_columns], heads).contiguous()
    seen = [rotated_TN[start:end] for start, end in segment.seen]
    k = torch.cat([_split(run[:, heads.key_columns], heads) for run in seen], dim=1)
    v = torch.cat([_split(run[:, heads.value_columns], heads) for run in seen], dim=1)
    return q, k, v


def _add_to_seen(total_TD: Tensor, gradient_JLE: Tensor, segment: Segment, heads: Heads) -> None:
    """Add the gradient of the keys or values that a segment sees where they stand on the token axis."""
    lengths = [end - start for start, end in segment.seen]
    for (start, end), part in zip(segment.seen, gradient_JLE.split(lengths, dim=1), strict=True):
        _split(total_TD[start:end], heads).add_(part)


def _split(x_LN: Tensor, heads: Heads) -> Tensor:
    """[L, heads·E] -> [heads, L, E], a view."""
    return x_LN.unflatten(-1, (-1, heads.size)).transpose(0, 1)


def _grouped(x_LD: Tensor, heads: Heads) -> Tensor:
    """[L, H·E] -> [J, G, L, E], a view."""
    return _split(x_LD, heads).unflatten(0, (heads.key, heads.group))


def _rotate(x_TN: Tensor, heads: Heads, layout: Layout, back: bool = False) -> Tensor:
    """Queries and keys rotated by their positions, values as they are, for the whole token axis.

    Rotary position embedding (Su et al. 2021, arXiv:2104.09864), halves as transformers lays them.
    """
    half = heads.size // 2
    cos, sin = layout.cos_TE[:, None, :half], layout.sin_TE[:, None, :half]
    turned = slice(0, heads.value_columns.start)
    out_TN = torch.empty_like(x_TN)
    x, out = (t[:, turned].unflatten(1, (-1, heads.size)) for t in (x_TN, out_TN))
    sign = 1 if back else -1
    torch.mul(x[..., :half], cos, out=out[..., :half]).addcmul_(x[..., half:], sin, value=sign)
    torch.mul(x[..., half:], cos, out=out[..., half:]).addcmul_(x[..., :half], sin, value=-sign)
    out_TN[:, heads.value_columns] = x_TN[:, heads.value_columns]
    return out_TN


def _rotate_plainly(x_HTE: Tensor, layout: Layout) -> Tensor:
    """What `_rotate` must equal."""
    x1, x2 = x_HTE.chunk(2, dim=-1)
    return x_HTE * layout.cos_TE + torch.cat([-x2, x1], dim=-1) * layout.sin_TE
