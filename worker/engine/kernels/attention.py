"""Causal attention of segments on one token axis, with rotary positions, as one autograd function.

PyTorch's flash attention is slow on a CPU at the lengths of chat rows. Here the scores of a bundle of pieces
(`batch/bundles.py`) are one batched product. Query heads that share a key head lie below each other, so
grouped heads need no copies of the keys. The probabilities of short segments are saved for the backward pass;
those of long segments are computed again. On a CPU that multiplies pairs of bf16 and has no AMX, C computes
most of it (`in_c/`).

The axis N holds several heads side by side, as a projection returns them. Its length is the number of heads
times E.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from core.estimates.activations import SAVED_KEYS
from worker.engine.batch.block_mask import segments_mask
from worker.engine.batch.bundles import Bundle, bundle
from worker.engine.batch.micro_batch import Segment
from worker.engine.batch.shared_keys import Lane, LaneInLayer
from worker.engine.kernels.in_c.attention import attended, gradients, probabilities
from worker.engine.kernels.rotation import Pairs
from worker.engine.kernels.transformers_attention import explicit_attention


@dataclass(frozen=True)
class Heads:
    """The numbers of query heads and key heads, and the size of one head."""

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


class Sight:
    """The keys that the queries of a bundle see, as spans for C or as a mask for PyTorch."""

    def __init__(self, one: Bundle, heads: Heads, like: Tensor, window: int | None) -> None:
        self._one, self.heads, self._like, self._window = one, heads, like, window

    @cached_property
    def spans(self) -> tuple[Tensor, Tensor]:
        return self._one.seen_keys(self.heads.group, self._window)

    @cached_property
    def mask(self) -> Tensor:
        return self._one.causal_mask(self.heads.key, self.heads.group, self._like, self._window)


class Layout:
    """The keys that each token may see, and its rotation: the same for all layers of a micro-batch.

    The tokens are those of a `lane`'s part of the axis. Without a lane they are the whole axis. With a
    `window` a token sees itself and the `window - 1` positions before it. Without `pairs` whole heads are
    rotated, in halves. A `softcap` bounds the scores as softcap · tanh(score / softcap), and `query_scale_T1`
    are factors of the queries.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        heads: Heads,
        cos_TE: Tensor,
        sin_TE: Tensor,
        lane: Lane | None = None,
        window: int | None = None,
        pairs: Pairs | None = None,
        softcap: float | None = None,
        query_scale_T1: Tensor | None = None,
    ) -> None:
        self.segments = segments
        self.window = window
        self.heads = heads
        self.pairs = pairs or Pairs(heads.size)
        self.softcap, self.query_scale_T1 = softcap, query_scale_T1
        self.lane = lane or Lane.alone(len(cos_TE))
        self.cos_TE, self.sin_TE = cos_TE, sin_TE
        self.signed_sin_TE = self.pairs.signed(sin_TE)

    @property
    def length(self) -> int:
        return len(self.cos_TE)

    @cached_property
    def bundles(self) -> list[tuple[Bundle, Sight]]:
        """The bundles of the segments' pieces, each with the keys that its queries see."""
        bundles = bundle(self.segments, self.lane.start, self.window)
        like = self.cos_TE.float()  # the type of the scores
        return [(one, Sight(one, self.heads, like, self.window)) for one in bundles]

    @cached_property
    def block_mask(self) -> BlockMask:
        return segments_mask(self.segments, self.window, self.cos_TE.device)


def segment_attention(
    qkv_TN: Tensor,
    layout: Layout,
    scale: float,
    lane: LaneInLayer | None = None,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """Return the attended values, [T, H·E], for queries, keys and values side by side in qkv_TN.

    A layer that is computed again needs a `lane`, which remembers the keys and values of the first time. A
    sink is a logit of its head, which takes its share of the softmax and adds no value. It gets no gradient.
    """
    return _SegmentAttention.apply(qkv_TN, layout, scale, lane or layout.lane, sinks_H)


def segment_attention_plainly(
    qkv_TN: Tensor, layout: Layout, scale: float, sinks_H: Tensor | None = None
) -> Tensor:
    """Return the same as `segment_attention`, with a call of PyTorch's own attention for each segment."""
    heads = layout.heads
    q_JTGE, k_JTE, v_JTE = _parts_by_heads(qkv_TN, heads)
    q_HTE = layout.pairs.rotated(q_JTGE.transpose(1, 2).flatten(0, 1), layout.cos_TE, layout.sin_TE)
    k_JTE = layout.pairs.rotated(k_JTE, layout.cos_TE, layout.sin_TE)
    if layout.query_scale_T1 is not None:
        q_HTE = q_HTE * layout.query_scale_T1
    outputs = []
    for segment in layout.segments:
        q = q_HTE[:, segment.start : segment.end]
        k, v = (torch.cat([t[:, start:end] for start, end in segment.seen], dim=1) for t in (k_JTE, v_JTE))
        before = k.shape[1] - q.shape[1]
        visible = q.new_ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(before)
        if layout.window is not None:
            visible = visible.triu(before - layout.window + 1)
        o_HLE = one_attention(q, k, v, visible, scale, layout.softcap, sinks_H)
        outputs.append(o_HLE.transpose(0, 1).flatten(1))
    return torch.cat(outputs)


def one_attention(
    q_HLE: Tensor,
    k_JLE: Tensor,
    v_JLE: Tensor,
    mask: Tensor | None,
    scale: float,
    softcap: float | None,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """Return the attended values, [H, L, E], of queries that see the keys where the mask is True."""
    if softcap is not None or sinks_H is not None:
        return explicit_attention(q_HLE, k_JLE, v_JLE, mask, scale, softcap, sinks_H)
    return F.scaled_dot_product_attention(
        q_HLE[None], k_JLE[None], v_JLE[None], attn_mask=mask, scale=scale, enable_gqa=True
    )[0]


class _SegmentAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv_TN, layout, scale, lane, sinks_H):  # type: ignore[no-untyped-def]
        q_JTGE, *own = _by_heads(qkv_TN, layout)
        keys = lane.give(*own)
        k_JTE, v_JTE = keys.kv_2JTE
        out_TN = qkv_TN.new_empty(qkv_TN.shape[0], layout.heads.query * layout.heads.size)
        out_JTGE = _queries_by_heads(out_TN, layout.heads)
        saved = []
        scores = Scores(scale, layout.softcap, sinks_H)
        for one, sight in layout.bundles:
            k, v = _gather_keys(k_JTE, one), _gather_keys(v_JTE, one)
            p, o = _attended(_gather_queries(q_JTGE, one), k, v, sight, scores)
            _scatter_queries(o, out_JTGE, one)
            saved.append(p if one.key_count <= SAVED_KEYS else None)
        ctx.layout, ctx.scores, ctx.keys = layout, scores, keys
        # Saved matrices may be rounded to bf16, and rounded queries would give other probabilities. So
        # queries from which probabilities are computed again are saved as a vector. Keys are not saved.
        ctx.q_shape = q_JTGE.shape
        scored_again = layout.softcap is not None or any(p is None for p in saved)
        ctx.save_for_backward(q_JTGE.view(-1) if scored_again else q_JTGE, *saved)
        return out_TN

    @staticmethod
    def backward(ctx, dout_TN):  # type: ignore[no-untyped-def]
        queries, *saved = ctx.saved_tensors
        q_JTGE = queries.view(ctx.q_shape)
        layout, keys = ctx.layout, ctx.keys
        ctx.keys = None  # autograd frees only the tensors that it has saved itself
        k_JTE, v_JTE = keys.kv_2JTE
        dout_JTGE = _queries_by_heads(dout_TN, layout.heads)
        dqkv_TN = dout_TN.new_empty(dout_TN.shape[0], layout.heads.value_columns.stop)
        dqk_TN = dout_TN.new_empty(dout_TN.shape[0], layout.heads.key_columns.stop)
        dq_JTGE = _queries_by_heads(dqk_TN[:, layout.heads.query_columns], layout.heads)
        # The sums are in fp32, because every piece that sees a key adds to the key's gradient
        seen = keys.kv_2JTE[:, :, : layout.lane.end]
        dkv_2JTE = torch.zeros_like(seen, dtype=torch.float32, memory_format=torch.contiguous_format)
        dk_JTE, dv_JTE = dkv_2JTE
        for (one, sight), p in zip(layout.bundles, saved, strict=True):
            q, k, v = _gather_queries(q_JTGE, one), _gather_keys(k_JTE, one), _gather_keys(v_JTE, one)
            if p is None:
                p = _probabilities(q, k, sight, ctx.scores)
            do = _gather_queries(dout_JTGE, one)
            ds, dq = _gradients(do, q, k, v, p, sight, ctx.scores)
            _add_to_keys(torch.bmm(p.transpose(1, 2), do), dv_JTE, one)
            _add_to_keys(torch.bmm(ds.transpose(1, 2), q), dk_JTE, one)
            _scatter_queries(dq, dq_JTGE, one)
        dk_JTE, dv_JTE = layout.lane.give_back(keys, dkv_2JTE)
        _keys_by_heads(dqk_TN[:, layout.heads.key_columns], layout.heads).copy_(dk_JTE)
        _keys_by_heads(dqkv_TN[:, layout.heads.value_columns], layout.heads).copy_(dv_JTE)
        if layout.query_scale_T1 is not None:
            dqk_TN[:, layout.heads.query_columns].mul_(layout.query_scale_T1)
        _rotate(dqk_TN, dqkv_TN[:, : layout.heads.key_columns.stop], layout, back=True)
        return dqkv_TN, None, None, None, None


@dataclass(frozen=True)
class Scores:
    """How scores follow from products of queries and keys: times `scale`, then perhaps capped.

    Each head may have a sink beside its scores.
    """

    scale: float
    softcap: float | None
    sinks_H: Tensor | None = None

    @property
    def are_plain(self) -> bool:
        """Whether they are such as C computes."""
        return self.softcap is None and self.sinks_H is None

    def of(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the scores in fp32. In bf16, a score of 100 would be rounded by up to a quarter."""
        scores = self._products(q, k, self.scale)
        return scores if self.softcap is None else scores.div_(self.softcap).tanh_().mul_(self.softcap)

    def slope(self, q: Tensor, k: Tensor, softcap: float) -> Tensor:
        """Return the derivative of the capped scores by the scores, 1 - tanh²(score / softcap)."""
        return self._products(q, k, self.scale / softcap).tanh_().square_().neg_().add_(1)

    def _products(self, q: Tensor, k: Tensor, factor: float) -> Tensor:
        q, k = q.float(), k.float()
        return torch.baddbmm(q[:1, :1, :1], q, k.transpose(1, 2), beta=0, alpha=factor)


def _attended(q: Tensor, k: Tensor, v: Tensor, sight: Sight, scores: Scores) -> tuple[Tensor, Tensor]:
    """Return the probabilities, [J · pieces, queries · G, keys], and the attended values."""
    if scores.are_plain and (both := attended(q, k, v, sight, scores.scale)) is not None:
        return both
    p = _masked_softmax(q, k, sight, scores)
    return p, torch.bmm(p, v)


def _gradients(
    do: Tensor, q: Tensor, k: Tensor, v: Tensor, p: Tensor, sight: Sight, scores: Scores
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the scores, times the scale, and that of the queries."""
    softcap = scores.softcap
    if scores.are_plain and (both := gradients(do, k, v, p, sight, scores.scale)) is not None:
        return both
    dp = torch.baddbmm(do[:1, :1, :1], do, v.transpose(1, 2), beta=0, alpha=scores.scale)
    ds = torch._softmax_backward_data(dp, p, -1, p.dtype)
    if softcap is not None:
        ds.mul_(scores.slope(q, k, softcap))
    return ds, torch.bmm(ds, k)


def _probabilities(q: Tensor, k: Tensor, sight: Sight, scores: Scores) -> Tensor:
    """Return the softmax of the scores over the keys that a query sees: [J · pieces, queries · G, keys]."""
    p = probabilities(q, k, sight, scores.scale) if scores.are_plain else None
    return _masked_softmax(q, k, sight, scores) if p is None else p


def _masked_softmax(q: Tensor, k: Tensor, sight: Sight, scores: Scores) -> Tensor:
    """Return the probabilities, from scores and a mask in memory. With sinks, their sum is less than 1."""
    scored, mask = scores.of(q, k), sight.mask
    scored[..., -mask.shape[-1] :] += mask
    if scores.sinks_H is None:
        return torch.softmax(scored, dim=-1).to(q.dtype)
    scored = torch.cat([scored, _beside(scored, scores.sinks_H, sight.heads)], dim=-1)
    return torch.softmax(scored, dim=-1)[..., :-1].to(q.dtype)


def _beside(scored: Tensor, sinks_H: Tensor, heads: Heads) -> Tensor:
    """Return the sink of each row of the scores, [J · pieces, queries · G, 1]."""
    rows, queries, _ = scored.shape
    sinks_JG = sinks_H.to(scored.dtype).view(heads.key, 1, 1, heads.group)
    spread = sinks_JG.expand(-1, rows // heads.key, queries // heads.group, -1)
    return spread.reshape(rows, queries, 1)


def _gather_queries(x_JTGE: Tensor, one: Bundle) -> Tensor:
    """Return a bundle's queries, or their gradients: [J · pieces, queries · G, E], zero where padded."""
    if len(one.pieces) == 1:
        return x_JTGE[:, slice(*one.pieces[0].queries)].flatten(1, 2)
    heads, _, group, size = x_JTGE.shape
    out = x_JTGE.new_zeros(heads, len(one.pieces), one.query_count, group, size)
    for index, piece in enumerate(one.pieces):
        out[:, index, : piece.query_count] = x_JTGE[:, slice(*piece.queries)]
    return out.view(-1, one.query_count * group, size)


def _scatter_queries(x: Tensor, out_JTGE: Tensor, one: Bundle) -> None:
    """Scatter the values of a bundle's queries, without the padding of `_gather_queries`."""
    heads, _, group, size = out_JTGE.shape
    x = x.view(heads, len(one.pieces), one.query_count, group, size)
    for index, piece in enumerate(one.pieces):
        out_JTGE[:, slice(*piece.queries)] = x[:, index, : piece.query_count]


def _gather_keys(x_JTE: Tensor, one: Bundle) -> Tensor:
    """Return the keys or values that a bundle sees: [J · pieces, keys, E], zero where padded."""
    if len(one.pieces) == 1:
        spans = [x_JTE[:, slice(*span)] for span in one.pieces[0].keys]
        return torch.cat(spans, dim=1) if len(spans) > 1 else spans[0]
    heads, _, size = x_JTE.shape
    out = x_JTE.new_zeros(heads, len(one.pieces), one.key_count, size)
    for index, span, among_keys in _keys_of(one):
        out[:, index, among_keys] = x_JTE[:, span]
    return out.view(-1, one.key_count, size)


def _add_to_keys(x: Tensor, total_JTE: Tensor, one: Bundle) -> None:
    """Add the gradients of the keys or values that a bundle sees to the keys or values on the token axis."""
    heads, _, size = total_JTE.shape
    x = x.view(heads, len(one.pieces), one.key_count, size)
    for index, span, among_keys in _keys_of(one):
        total_JTE[:, span] += x[:, index, among_keys]


def _keys_of(one: Bundle) -> Iterator[tuple[int, slice, slice]]:
    """Yield each span of keys: its piece's number, and its span on the axis and among the piece's keys."""
    for index, piece in enumerate(one.pieces):
        for span, among_keys in piece.key_spans():
            yield index, slice(*span), slice(*among_keys)


def _queries_by_heads(x_TN: Tensor, heads: Heads) -> Tensor:
    """Return a view of queries: [T, H·E] -> [J, T, G, E]."""
    return x_TN.unflatten(1, (heads.key, heads.group, heads.size)).transpose(0, 1)


def _keys_by_heads(x_TN: Tensor, heads: Heads) -> Tensor:
    """Return a view of keys or values: [T, J·E] -> [J, T, E]."""
    return x_TN.unflatten(1, (heads.key, heads.size)).transpose(0, 1)


def _by_heads(qkv_TN: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Return rotated queries, [J, T, G, E], and views of the rotated keys and of the values, [J, T, E]."""
    heads = layout.heads
    rotated_TN = qkv_TN.new_empty(qkv_TN.shape[0], heads.key_columns.stop)
    _rotate(qkv_TN[:, : heads.key_columns.stop], rotated_TN, layout)
    if layout.query_scale_T1 is not None:
        rotated_TN[:, heads.query_columns].mul_(layout.query_scale_T1)
    q = _queries_by_heads(rotated_TN[:, heads.query_columns], heads)
    k = _keys_by_heads(rotated_TN[:, heads.key_columns], heads)
    v = _keys_by_heads(qkv_TN[:, heads.value_columns], heads)
    return q.contiguous(), k, v


def _parts_by_heads(qkv_TN: Tensor, heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    """Return views of the queries, [J, T, G, E], the keys and the values, [J, T, E], before rotation."""
    return (
        _queries_by_heads(qkv_TN[:, heads.query_columns], heads),
        _keys_by_heads(qkv_TN[:, heads.key_columns], heads),
        _keys_by_heads(qkv_TN[:, heads.value_columns], heads),
    )


def _rotate(x_TN: Tensor, out_TN: Tensor, layout: Layout, back: bool = False) -> None:
    """Rotate the heads of x_TN by the tokens' positions, or `back`, and write them to out_TN."""
    x_THE, out_THE = (tensor.unflatten(1, (-1, layout.heads.size)) for tensor in (x_TN, out_TN))
    layout.pairs.rotate(x_THE, layout.cos_TE, layout.signed_sin_TE, out_THE, back)
