"""Attention on a GPU against its plain twins: what the mask shows, and what comes out."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from tests.fixtures.engine.gpu_kernels import FLEX, HEADS, UNCOMPILED, tree
from tests.fixtures.engine.twins import DTYPES, assert_twins_agree, rotation
from worker.engine.batch.block_mask import TILE, block_mask, exits, window_mask
from worker.engine.batch.micro_batch import Segment
from worker.engine.kernels.attention import Layout, segment_attention_plainly
from worker.engine.kernels.flex_attention import kernel_options
from worker.engine.kernels.rotation import Pairs
from worker.engine.kernels.transformers_attention import Attend, SegmentLayout, by_segments

pytestmark = [pytest.mark.slow, pytest.mark.family(3)]


def chain(*lengths: int) -> list[Segment]:
    """Segments that each see all before them."""
    segments: list[Segment] = []
    for length in lengths:
        start = segments[-1].end if segments else 0
        segments.append(Segment(start, start + length, tuple((s.start, s.end) for s in segments)))
    return segments


FORESTS = {
    "rows of their own": tree(40) + tree(17, start=40) + tree(1, start=57),
    "a chain": chain(20, 9, 1, 30),
    "a beginning that many share": tree(40, 10, 1, 25) + tree(14, start=76),
    "a beginning beyond a tile": tree(2 * TILE + 5, TILE, 40, 3 * TILE),
    "a long row": tree(4 * TILE + 7),
    "whole tiles": tree(TILE, TILE, TILE),
}
EVERY_FOREST = pytest.mark.parametrize("segments", FORESTS.values(), ids=FORESTS)


def positions_of(segments: Sequence[Segment]) -> Tensor:
    return torch.cat([torch.arange(segment.length) + segment.prefix_length for segment in segments])


def seen(segments: Sequence[Segment], window: int | None = None) -> Tensor:
    """Straight from the segments' definition: [T, T]."""
    positions = positions_of(segments)
    visible = torch.zeros(len(positions), len(positions), dtype=torch.bool)
    for segment in segments:
        for start, end in segment.prefix:
            visible[segment.start : segment.end, start:end] = True
        visible[segment.start : segment.end, segment.start : segment.end] = torch.ones(
            segment.length, segment.length, dtype=torch.bool
        ).tril()
    return visible if window is None else visible & (positions[:, None] - positions < window)


@EVERY_FOREST
@pytest.mark.parametrize("window", [None, 1, 30, 200])
def test_the_block_mask_shows_a_token_what_its_segment_says(
    segments: list[Segment], window: int | None
) -> None:
    """By the rule for single tokens, and by the tables of tiles, which the kernels look at first."""
    exit_T, positions = exits(segments), positions_of(segments)
    mask = block_mask(exit_T) if window is None else window_mask(exit_T, positions, window)
    visible = seen(segments, window)
    tokens = torch.arange(len(positions))
    zero = torch.tensor(0)
    assert torch.equal(mask.mask_mod(zero, zero, tokens[:, None], tokens), visible)
    tiles = -(-len(tokens) // TILE)
    padded = torch.zeros(tiles * TILE, tiles * TILE, dtype=torch.bool)
    padded[: len(tokens), : len(tokens)] = visible
    counts = padded.view(tiles, TILE, tiles, TILE).sum((1, 3))
    full = dense(mask.full_kv_num_blocks, mask.full_kv_indices)
    partial = dense(mask.kv_num_blocks, mask.kv_indices)
    assert torch.equal(full | partial, full ^ partial)
    assert (counts[full] == TILE * TILE).all()
    assert (counts[~(full | partial)] == 0).all()
    if window is None or len(segments) == 1:  # else a tile may be left to the rule for tokens
        expected = create_block_mask(mask.mask_mod, None, None, len(tokens), len(tokens), device="cpu")
        assert torch.equal(full, dense(expected.full_kv_num_blocks, expected.full_kv_indices))
        assert torch.equal(partial, dense(expected.kv_num_blocks, expected.kv_indices))


def dense(counts: Tensor | None, order: Tensor | None) -> Tensor:
    """Tables of tiles as [queries, keys]."""
    assert counts is not None
    assert order is not None
    rows, columns = order.shape[2:]
    listed = torch.arange(columns) < counts[0, 0, :, None]
    return torch.zeros(rows, columns, dtype=torch.bool).scatter(1, order[0, 0].long(), listed)


def test_segments_out_of_depth_first_order_are_refused() -> None:
    root, late = (0, 20), Segment(30, 40, ((0, 20),))
    with pytest.raises(ValueError, match="depth-first"):
        exits([Segment(*root), Segment(20, 30), late])


@FLEX
@DTYPES
@EVERY_FOREST
@pytest.mark.parametrize("window", [None, 90], ids=["", "in a window"])
def test_attention_over_segments(segments: list[Segment], window: int | None, dtype: torch.dtype) -> None:
    layout = Layout(segments, HEADS, *rotation(segments, HEADS.size, dtype), window=window)
    torch.manual_seed(0)
    assert_twins_agree(
        dtype,
        lambda qkv: UNCOMPILED.segment_attention(qkv, layout, 0.3),
        lambda qkv: segment_attention_plainly(qkv, layout, 0.3),
        torch.randn(segments[-1].end, (6 + 2 * 2) * HEADS.size).to(dtype),
    )


@FLEX
@pytest.mark.parametrize("interleaved", [False, True])
def test_attention_with_sinks_capped_scores_scaled_queries_and_heads_rotated_in_part(
    interleaved: bool,
) -> None:
    segments, pairs = FORESTS["a beginning that many share"], Pairs(12, interleaved)
    torch.manual_seed(0)
    scales, sinks_H = torch.rand(segments[-1].end, 1) + 0.5, torch.randn(HEADS.query)
    rotated = pairs.spread(*rotation(segments, pairs.count, torch.float32), HEADS.size)
    layout = Layout(segments, HEADS, *rotated, None, 30, pairs, softcap=2.0, query_scale_T1=scales)
    assert_twins_agree(
        torch.float32,
        lambda qkv: UNCOMPILED.segment_attention(qkv, layout, 1.0, None, sinks_H),
        lambda qkv: segment_attention_plainly(qkv, layout, 1.0, sinks_H),
        torch.randn(segments[-1].end, (6 + 2 * 2) * HEADS.size),
    )


@FLEX
@pytest.mark.parametrize("softcap", [None, 2.0], ids=["", "capped"])
@pytest.mark.parametrize("sinks", [False, True], ids=["", "with sinks"])
@pytest.mark.parametrize("window", [None, 30], ids=["", "in a window"])
def test_attention_for_transformers_modules(window: int | None, sinks: bool, softcap: float | None) -> None:
    segments = FORESTS["a beginning that many share"]
    layout = SegmentLayout(segments, positions_of(segments))
    torch.manual_seed(0)
    q, k, v = (torch.randn(heads, segments[-1].end, 16) for heads in (6, 2, 2))

    def attended(attend: Attend, *inputs: Tensor) -> Tensor:
        sinks_H = inputs[3] if sinks else None
        return attend(*inputs[:3], layout, 0.3, window, softcap, sinks_H)

    assert_twins_agree(
        torch.float32,
        lambda *inputs: attended(UNCOMPILED.attend, *inputs),
        lambda *inputs: attended(by_segments, *inputs),
        *(q, k, v, torch.randn(6))[: 4 if sinks else 3],
    )


def test_tiles_of_wide_heads_are_small() -> None:
    """`tests/unit/bench/test_fake_gpu.py` compiles them."""
    tiles = {name: size for name, size in kernel_options(256).items() if "BLOCK" in name}
    assert len(tiles) == 5
    assert set(tiles.values()) == {32}
    assert kernel_options(128) == {"BACKEND": "TRITON"}
