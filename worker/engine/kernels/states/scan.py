"""Recurrences with a decaying state, computed in chunks over a forest of segments.

In each head a state S, [E, U], goes from token to token:

    S ← exp(g) S,   then   S ← S + k (β (v − Sᵀk))ᵀ,   o = Sᵀq

This is the gated delta rule (Yang et al. 2024, arXiv:2412.06464). Without the term Sᵀk it is the recurrence
of Mamba2 (Dao and Gu 2024, arXiv:2405.21060). Within a chunk, a triangular system gives the updates of all
tokens. Between chunks only the state goes on, so the time is linear in the length of a row. All is computed
in fp32. For the backward pass a wave keeps its inputs and the states before it, and computes the rest again.

M are the chunks of a wave, C the tokens of a chunk, E the size of a key, U the size of a value. J are the
heads of queries and keys, G the heads of values that share one of them, and H = J · G.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from worker.engine.batch.chunks import CHUNK, Chunks, Wave
from worker.engine.batch.micro_batch import Segment, Span
from worker.engine.kernels.in_c import states as in_c

NORM_EPS = 1e-6  # that of flash-linear-attention, which transformers takes too
SMALL = 8  # rows of a matrix whose powers stay small enough for a sum of them


@dataclass(frozen=True)
class Rule:
    """Which recurrence it is. `normed` gives queries and keys the length 1; `scale` multiplies queries."""

    delta: bool
    normed: bool = False
    scale: float = 1.0


def scan(inputs: Sequence[Tensor], chunks: Chunks, rule: Rule) -> Tensor:
    """Return the outputs, [T, H, U] in fp32. The plain twin is `scan_plainly`.

    The inputs are q and k, [T, J, E], v, [T, H, U], g and β, [T, H].
    """
    if in_c.can_scan(inputs[0], inputs[2]):
        out_THU: Tensor = _InC.apply(*inputs, chunks, rule)
        return out_THU
    return _scan_by_waves(inputs, chunks, rule)


class _InC(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *given):  # type: ignore[no-untyped-def]
        *inputs, ctx.chunks, ctx.rule = given
        ctx.save_for_backward(*inputs)
        return in_c.scanned(inputs, ctx.chunks, ctx.rule)

    @staticmethod
    def backward(ctx, dout_THU):  # type: ignore[no-untyped-def]
        inputs = ctx.saved_tensors
        made = in_c.gradients(inputs, ctx.chunks, ctx.rule, dout_THU)
        shared = [_summed(dx, x).to(x.dtype) for dx, x in zip(made, inputs, strict=True)]
        return *shared, None, None


def _summed(dx: Tensor, x: Tensor) -> Tensor:
    """Add up the gradients of heads that share one of x."""
    return dx if dx.shape == x.shape else dx.unflatten(1, (x.shape[1], -1)).sum(2)


def _scan_by_waves(inputs: Sequence[Tensor], chunks: Chunks, rule: Rule) -> Tensor:
    by_waves = [_by_waves(x, chunks) for x in inputs]
    outputs: list[Tensor] = []
    before: Tensor | None = None  # the states after the level before
    after: list[Tensor] = []
    for wave, *own in zip(chunks.waves, *by_waves, strict=True):
        out, state = checkpoint(
            _scan_wave, wave, rule, before, *own, use_reentrant=False, preserve_rng_state=False
        )
        outputs.append(out)
        after.append(state)
        if wave.ends_level:
            before, after = torch.cat(after), []
    out_NHU = torch.cat(outputs).permute(0, 3, 1, 2, 4).flatten(2, 3).flatten(0, 1)
    return _Rearranged.apply(out_NHU, chunks.places_T, chunks.tokens_N)


def _by_waves(x_T: Tensor, chunks: Chunks) -> tuple[Tensor, ...]:
    """Return [M, C, …] of each wave, with zeros behind short chunks: they change no state."""
    x_N = _Rearranged.apply(x_T, chunks.tokens_N, chunks.places_T)
    return x_N.unflatten(0, (-1, CHUNK)).split([wave.chunks for wave in chunks.waves])


class _Rearranged(torch.autograd.Function):
    """Tokens in the order of `forth`, and a zero where it is too large; `back` is the way back."""

    @staticmethod
    def forward(ctx, x, forth, back):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(forth, back)
        return F.pad(x, (0, 0) * (x.dim() - 1) + (0, 1)).index_select(0, forth)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        forth, back = ctx.saved_tensors
        return _Rearranged.apply(gradient, back, forth), None, None


def _scan_wave(
    wave: Wave,
    rule: Rule,
    before: Tensor | None,
    q_MCJE: Tensor,
    k_MCJE: Tensor,
    v_MCHU: Tensor,
    g_MCH: Tensor,
    beta_MCH: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the outputs, [M, J, G, C, U], and the states after the last level's continued chunks."""
    heads = q_MCJE.shape[2], v_MCHU.shape[2] // q_MCJE.shape[2]
    q, k, v = (x.transpose(1, 2).contiguous().float() for x in (q_MCJE, k_MCJE, v_MCHU))
    if rule.normed:
        q, k = (x * (x.square().sum(-1, keepdim=True) + NORM_EPS).rsqrt() for x in (q, k))
    q, k, v = (q * rule.scale)[:, :, None], k[:, :, None], v.unflatten(1, heads)
    g, beta = (x.transpose(1, 2).float().unflatten(1, heads) for x in (g_MCH, beta_MCH))
    g, beta = g.cumsum(-1), beta[..., None]
    later = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=g.device).triu(1)
    decay = (g[..., :, None] - g[..., None, :]).masked_fill(later, float("-inf")).exp()
    from_start, to_end = g.exp()[..., None], (g[..., -1:] - g).exp()[..., None]
    updates, reads = v * beta, k * (beta * from_start)
    if rule.delta:
        solution = _Inverse.apply((k @ k.mT) * (decay * beta))
        updates, reads = solution @ updates, solution @ reads if wave.has_states else reads
    sizes = [level.chunks for level in wave.levels]
    scanned = (updates, reads, (q @ k.mT) * decay, q * from_start, k * to_end, from_start[..., -1:, :])
    outputs = []
    for level, *parts in zip(wave.levels, *(x.split(sizes) for x in scanned), strict=True):
        updates, reads, scores, q, k, kept = parts
        state = None if before is None or level.before_M is None else before.index_select(0, level.before_M)
        if state is not None and rule.delta:
            updates = updates - reads @ state
        outputs.append(scores @ updates if state is None else scores @ updates + q @ state)
        behind = slice(level.continued)
        before = k[behind].mT @ updates[behind]
        if state is not None:
            before = before + kept[behind] * state[behind]
    assert before is not None
    return torch.cat(outputs), before


class _Inverse(torch.autograd.Function):
    """The inverse of a matrix with ones on its diagonal and what the given matrix has below it.

    It is as stable as a substitution row by row, and consists of products of many small matrices at once.
    LAPACK solves one system after the other, which took a third of the time of a wave.
    """

    @staticmethod
    def forward(ctx, system):  # type: ignore[no-untyped-def]
        inverse = _inverse_by_halves(system.tril(-1))
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (inverse,) = ctx.saved_tensors
        return -(inverse.mT @ gradient @ inverse.mT).tril(-1)


def _inverse_by_halves(below: Tensor) -> Tensor:
    """Return (1 + below)⁻¹ by the inverses of both halves of the diagonal, and these by their halves."""
    size = below.shape[-1]
    if size <= SMALL:
        ones = torch.eye(size, dtype=below.dtype, device=below.device)
        inverse, power = ones - below, below @ below
        for _ in range(SMALL.bit_length() - 2):  # (1 - N)(1 + N²)(1 + N⁴), since N⁸ is 0
            inverse, power = inverse @ (ones + power), power @ power
        return inverse
    half = size // 2
    both = torch.stack([below[..., :half, :half], below[..., half:, half:]])
    upper, lower = _inverse_by_halves(both)
    left = -(lower @ below[..., half:, :half] @ upper)
    top = torch.cat([upper, torch.zeros_like(upper)], -1)
    return torch.cat([top, torch.cat([left, lower], -1)], -2)


def scan_onwards(
    inputs: Sequence[Tensor], chunks: Chunks, rule: Rule, before_XHEU: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the outputs, and the states behind rows that go on from the states before them.

    There is no gradient. The inputs are those of `scan`.
    """
    if in_c.can_scan(inputs[0], inputs[2]):
        after_XHEU = torch.empty_like(before_XHEU)
        return in_c.scanned(inputs, chunks, rule, before_XHEU, after_XHEU), after_XHEU
    return scan_plainly(inputs, chunks.segments, rule, before_XHEU)


def scan_plainly(
    inputs: Sequence[Tensor], segments: Sequence[Segment], rule: Rule, before_XHEU: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the same, token by token: the outputs, and the states behind all segments."""
    q_TJE, k_TJE, v_THU, g_TH, beta_TH = inputs
    q_THE, k_THE = (x.float().repeat_interleave(v_THU.shape[1] // x.shape[1], 1) for x in (q_TJE, k_TJE))
    if rule.normed:
        q_THE, k_THE = (x * (x.square().sum(-1, keepdim=True) + NORM_EPS).rsqrt() for x in (q_THE, k_THE))
    nothing = q_THE.new_zeros(len(segments), *k_THE.shape[1:], v_THU.shape[2])
    first = nothing if before_XHEU is None else before_XHEU
    ends: dict[Span, Tensor] = {}
    outputs = []
    for number, segment in enumerate(segments):
        state_HEU = ends[segment.prefix[-1]] if segment.prefix else first[number]
        for token in range(segment.start, segment.end):
            k, v = k_THE[token][..., None], v_THU[token].float()
            state_HEU = state_HEU * g_TH[token].exp()[:, None, None]
            update = v - (state_HEU * k).sum(1) if rule.delta else v
            state_HEU = state_HEU + k * (beta_TH[token][:, None] * update)[:, None]
            outputs.append((state_HEU * q_THE[token][..., None]).sum(1) * rule.scale)
        ends[segment.start, segment.end] = state_HEU
    return torch.stack(outputs), torch.stack([*ends.values()])
