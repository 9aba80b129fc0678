"""Every hand-written piece of the engine against the obvious version, values and gradients."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.estimates.workspace import CHUNK_TOKENS
from tests.fixtures.engine.twins import (
    DTYPES,
    FOREST,
    TOLERANCE,
    assert_twins_agree,
    relative_difference,
    rotation,
)
from worker.engine.batch import bundles
from worker.engine.batch.micro_batch import TILE, Segment
from worker.engine.decoders import head
from worker.engine.kernels import attention, elementwise, lora_layers, loss, projection
from worker.engine.kernels.frozen_weight import DenseWeight
from worker.engine.kernels.rotation import Pairs
from worker.engine.parameters.flat import Extent, FlatParameters

pytestmark = pytest.mark.family(10)

NORM = torch.rand(32, generator=torch.Generator().manual_seed(2)) + 0.5
PROJECTIONS = {
    "alone": (projection.project, projection.project_plainly, 32),
    "of a norm": (
        lambda x, W, shares: projection.project_norm(x, NORM.to(x.dtype), 1e-5, W, shares),
        lambda x, W, shares: projection.project_plainly(
            elementwise.rms_norm_plainly(x, NORM.to(x.dtype), 1e-5), W, shares
        ),
        32,
    ),
    "of SwiGLU": (
        projection.project_swiglu,
        lambda x, W, shares: projection.project_plainly(elementwise.swiglu_plainly(x), W, shares),
        64,
    ),
    "of a gate with GELU": (
        lambda x, W, shares: projection.project_swiglu(x, W, shares, elementwise.GELU),
        lambda x, W, shares: projection.project_plainly(
            elementwise.swiglu_plainly(x, elementwise.GELU), W, shares
        ),
        64,
    ),
}


@DTYPES
@pytest.mark.parametrize(("fast", "plain", "width"), PROJECTIONS.values(), ids=PROJECTIONS)
@pytest.mark.parametrize("gain", [False, True], ids=["", "with a gain"])
@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["", "behind dropout"])
@pytest.mark.parametrize("invoked", [False, True], ids=["", "on some tokens"])
def test_projection_with_two_adapters_on_their_own_rows(
    dtype: torch.dtype,
    fast: Callable[..., Tensor],
    plain: Callable[..., Tensor],
    width: int,
    gain: bool,
    dropout: float,
    invoked: bool,
) -> None:
    """The first adapts two of the group's three projections, with different ranks, the second one."""
    seeds_T = torch.arange(50, dtype=torch.int32)
    acting_T = seeds_T % 7 > 2
    outcomes = []
    for function in (fast, plain):
        torch.manual_seed(0)
        x = torch.randn(50, width).to(dtype).requires_grad_()
        W = DenseWeight(torch.randn(24, 32).to(dtype))
        first, second = (FlatParameters(torch.randn(400) / 4, dtype) for _ in range(2))
        A = Extent(0, (6, 32))
        projections = [
            projection.ProjectionFactors(
                slice(0, 16),
                slice(0, 4),
                Extent(A.stop, (16, 4)),
                2.0,
                7,
                Extent(300, (16,)) if gain else None,
            ),
            projection.ProjectionFactors(slice(20, 24), slice(4, 6), Extent(A.stop + 64, (4, 2)), 0.5, 8),
        ]
        alone = [projection.ProjectionFactors(slice(16, 20), slice(0, 3), Extent(96, (4, 3)), 1.5)]
        shares = [
            projection.Share.on(
                slice(0, 30),
                projection.LowRank(first, A, projections, dropout=dropout, is_invoked=invoked),
                seeds_T,
                acting_T=acting_T,
            ),
            projection.Share(slice(30, 50), projection.LowRank(second, Extent(0, (3, 32)), alone)),
        ]
        y = function(x, W, shares)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(7)).to(dtype))
        outcomes.append([y, x.grad, first.gradient, second.gradient])
    for ours, theirs in zip(*outcomes, strict=True):
        assert ours is not None
        assert theirs is not None
        assert relative_difference(ours, theirs) < TOLERANCE[dtype]


def test_large_scores_of_attention_are_not_rounded_to_bf16() -> None:
    """Scores near 100 with differences of about 1: in bf16, they would be rounded by up to a quarter."""
    torch.manual_seed(0)
    heads = attention.Heads(1, 1, 64)
    q, k = 10 + torch.randn(40, 64), 1.2 + torch.randn(40, 64) / 40
    qkv_TN = torch.cat([q, k, torch.randn(40, 64)], dim=1).bfloat16()
    unturned = torch.ones(40, 64, dtype=torch.bfloat16), torch.zeros(40, 64, dtype=torch.bfloat16)
    ours = attention.segment_attention(qkv_TN, attention.Layout([Segment(0, 40)], heads, *unturned), 64**-0.5)
    q, k, v = qkv_TN.double().split(64, dim=1)
    scores = q @ k.T / 8
    assert 90 < scores.mean() < 110
    exact = scores.masked_fill(torch.ones(40, 40).triu(1).bool(), float("-inf")).softmax(-1) @ v
    assert relative_difference(ours.double(), exact) < 0.005


@DTYPES
@pytest.mark.parametrize("view", [False, True], ids=["own output", "output that is a view"])
@pytest.mark.parametrize("more", [False, True], ids=["", "behind dropout, with a gain but for the bias"])
def test_low_rank_update_of_any_layer(dtype: torch.dtype, view: bool, more: bool) -> None:
    outcomes = []
    for function in (lora_layers.add_low_rank, projection.add_low_rank_plainly):
        torch.manual_seed(0)
        x = torch.randn(50, 32).to(dtype).requires_grad_()
        y = torch.randn(25, 48).to(dtype).requires_grad_()
        adapters = [FlatParameters(torch.randn(4 * 32 + 24 * 4 + 24) / 4, dtype) for _ in range(2)]
        A, B = Extent(0, (4, 32)), Extent(128, (24, 4))
        factors = projection.ProjectionFactors(slice(None), slice(0, 4), B, 1.5)
        gained = (
            replace(factors, gain=Extent(224, (24,)), bias_N=torch.randn(24).to(dtype)) if more else factors
        )
        low_rank = projection.LowRank(adapters[0], A, [gained], dropout=0.3 if more else 0.0)
        shares = [
            projection.Share.on(slice(5, 30), low_rank, torch.arange(50, dtype=torch.int32)),
            projection.Share(slice(30, 50), projection.LowRank(adapters[1], A, [factors])),
        ]
        base = y.view(50, 24) if view else y.reshape(50, 24) * 1
        out = function(base, x, shares)
        out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(7)).to(dtype))
        outcomes.append([out, x.grad, y.grad, *(adapter.gradient for adapter in adapters)])
    for ours, plain in zip(*outcomes, strict=True):
        assert ours is not None
        assert plain is not None
        assert relative_difference(ours, plain) < TOLERANCE[dtype]


@DTYPES
def test_rms_norm(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight = torch.rand(48).to(dtype)
    assert_twins_agree(
        dtype,
        lambda x: elementwise.rms_norm(x, weight, 1e-5),
        lambda x: elementwise.rms_norm_plainly(x, weight, 1e-5),
        torch.randn(20, 48).to(dtype),
    )


@DTYPES
@pytest.mark.parametrize("kept", [True, False], ids=["kept probabilities", "recomputed probabilities"])
@pytest.mark.parametrize("window", [None, 1, 7, 18, 100])
@pytest.mark.parametrize("pairs", [None, Pairs(6), Pairs(6, interleaved=True)])
@pytest.mark.parametrize("sinks", [False, True], ids=["", "with sinks"])
def test_attention_over_segments_and_prefixes_with_grouped_heads(
    dtype: torch.dtype,
    kept: bool,
    window: int | None,
    pairs: Pairs | None,
    sinks: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other pairs of a head's numbers are tried with capped scores and scaled queries."""
    monkeypatch.setattr(bundles, "QUERY_BLOCK", 16)
    monkeypatch.setattr(attention, "SAVED_KEYS", 1000 if kept else 0)
    torch.manual_seed(0)
    heads = attention.Heads(query=6, key=2, size=8)
    cos_TE, sin_TE = rotation(FOREST, heads.size, dtype)
    more: dict[str, Any] = {}
    if pairs is not None:
        more = {"pairs": pairs, "softcap": 1.5, "query_scale_T1": torch.rand(90, 1).to(dtype) + 0.5}
        cos_TE, sin_TE = pairs.spread(*rotation(FOREST, pairs.count, dtype), heads.size)
    layout = attention.Layout(FOREST, heads, cos_TE, sin_TE, window=window, **more)
    sinks_H = torch.randn(heads.query) if sinks else None
    assert_twins_agree(
        dtype,
        lambda qkv: attention.segment_attention(qkv, layout, heads.size**-0.5, sinks_H=sinks_H),
        lambda qkv: attention.segment_attention_plainly(qkv, layout, heads.size**-0.5, sinks_H),
        torch.randn(90, (6 + 2 * 2) * 8).to(dtype),
    )


@pytest.mark.parametrize("tokens", [0, 1, 16, 496, 512, 528, 656, 1024, 1040, 5008])
def test_the_chunks_of_the_head_are_as_few_as_they_may_be_and_even(tokens: int) -> None:
    length = loss.chunk_tokens(tokens)
    lengths = [min(length, tokens - start) for start in range(0, tokens, length)]
    assert len(lengths) == -(-tokens // CHUNK_TOKENS)
    assert length <= CHUNK_TOKENS
    assert not lengths or max(lengths) - min(lengths) < TILE * len(lengths)


@DTYPES
def test_cross_entropy_in_chunks(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK_TOKENS", 16)
    monkeypatch.setattr(loss, "BLOCK_TOKENS", 3)
    torch.manual_seed(0)
    head = torch.randn(100, 32).to(dtype)
    labels = torch.randint(0, 100, (70,))
    weights = torch.rand(70)
    hidden = torch.randn(70, 32).to(dtype)
    assert_twins_agree(
        dtype,
        lambda h: loss.token_losses(h, DenseWeight(head), labels, weights).weighted_S.sum(),
        lambda h: loss.token_losses_plainly(h, head, labels, weights).weighted_S.sum(),
        hidden,
    )
    ours = loss.token_losses(hidden, DenseWeight(head), labels, weights)
    plain = loss.token_losses_plainly(hidden, head, labels, weights)
    assert relative_difference(ours.nll_S, plain.nll_S) < TOLERANCE[dtype]
    assert torch.equal(ours.correct_S, plain.correct_S)


@DTYPES
def test_cross_entropy_of_capped_logits_in_chunks(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "CHUNK_TOKENS", 16)
    torch.manual_seed(0)
    weight = torch.randn(100, 32).to(dtype)
    labels = torch.randint(0, 100, (70,))
    weights = torch.rand(70)

    def plainly(hidden: Tensor) -> Tensor:
        logits = head.capped_logits(hidden, DenseWeight(weight), 5.0)
        return (F.cross_entropy(logits, labels, reduction="none") * weights).sum()

    assert_twins_agree(
        dtype,
        lambda h: head.head_losses(h, DenseWeight(weight), 5.0, labels, weights).weighted_S.sum(),
        plainly,
        torch.randn(70, 32).to(dtype),
    )
