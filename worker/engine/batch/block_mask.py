"""FlexAttention's block mask, which says which keys each token sees (Dong et al. 2024, arXiv:2412.05496).

The segments of a micro-batch form a forest, and lie on the token axis in depth-first order. So all tokens
that see a token of a segment stand in one span. The span begins at the token itself. It ends at the token's
exit: the end of the last segment that has the token's segment in its prefix.

    q sees k  ⟺  k ≤ q < exit(k)

So one number for each key describes the whole forest. A tile of queries by keys is empty, full or mixed; the
smallest and the largest exit among its keys decide which. The axis B counts tiles.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from worker.engine.batch.micro_batch import Segment, Span
from worker.engine.device.transfer import on_device

TILE = 128  # tokens: FlexAttention's own size; its kernels are slower with smaller tiles

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""A mask function of FlexAttention: batch, head, query, key -> whether the query sees the key."""


def exits(segments: Sequence[Segment]) -> Tensor:
    """Return each token's exit, which is the end of the tokens that see it: [T], on the CPU.

    Raises ValueError if the segments are not in depth-first order. `pack.py` lays them in this order.
    """
    ends: dict[Span, int] = {}
    chain: list[Span] = []
    for segment in segments:
        del chain[len(segment.prefix) :]
        if tuple(chain) != segment.prefix:
            raise ValueError(f"{segment} does not follow its prefix in depth-first order")
        chain.append((segment.start, segment.end))
        ends |= dict.fromkeys(chain, segment.end)
    lengths = torch.tensor([segment.length for segment in segments])
    return torch.tensor(list(ends.values()), dtype=torch.int32).repeat_interleave(lengths)


def segments_mask(segments: Sequence[Segment], window: int | None, device: torch.device) -> BlockMask:
    """Return the mask of everything that the segments allow, within a window if it hides anything."""
    exit_T = on_device(exits(segments), device)
    window = narrowing(segments, window)
    if window is None:
        return block_mask(exit_T)
    positions = [torch.arange(s.prefix_length, s.prefix_length + s.length) for s in segments]
    return window_mask(exit_T, on_device(torch.cat(positions), device), window)


def narrowing(segments: Sequence[Segment], window: int | None) -> int | None:
    """Return the window, or None if no row is longer."""
    longest = max(segment.prefix_length + segment.length for segment in segments)
    return None if window is None or window >= longest else window


def block_mask(exit_T: Tensor) -> BlockMask:
    """Return the mask of everything that the segments allow, for all heads and layers of a micro-batch."""
    seen_BB, full_BB = _tiles(exit_T)
    return _assemble(exit_T, seen_BB, full_BB, _sees(exit_T))


def window_mask(exit_T: Tensor, positions_T: Tensor, window: int) -> BlockMask:
    """Return the mask within a window: only keys whose position is less than `window` before the query's."""
    seen_BB, full_BB = _tiles(exit_T)
    lowest_B, highest_B = _by_tiles(positions_T).aminmax(dim=1)
    # The nearest pair of positions decides whether a tile is empty, the farthest pair whether it is full
    seen_BB &= lowest_B[:, None] - highest_B < window
    full_BB &= highest_B[:, None] - lowest_B < window
    return _assemble(exit_T, seen_BB, full_BB, _sees_within(exit_T, positions_T, window))


def _sees(exit_T: Tensor) -> MaskMod:
    def sees(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (q < exit_T[k])

    return sees


def _sees_within(exit_T: Tensor, positions_T: Tensor, window: int) -> MaskMod:
    def sees(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (q < exit_T[k]) & (positions_T[q] - positions_T[k] < window)

    return sees


def _tiles(exit_T: Tensor) -> tuple[Tensor, Tensor]:
    """Return which tiles, queries by keys, have a query that sees a key, and which have only such pairs."""
    first_B, last_B = _by_tiles(exit_T).aminmax(dim=1)
    tile_B = torch.arange(len(first_B), device=exit_T.device)
    before_BB = tile_B < tile_B[:, None]
    seen_BB = before_BB & (last_B > tile_B[:, None] * TILE) | (tile_B == tile_B[:, None])
    full_BB = before_BB & (first_B >= (tile_B[:, None] + 1) * TILE)
    return seen_BB, full_BB


def _by_tiles(x_T: Tensor) -> Tensor:
    """Return x by tiles, [B, TILE]. The last tile is filled up with the last value."""
    tokens = len(x_T)
    padded = -(-tokens // TILE) * TILE
    return x_T[torch.arange(padded, device=x_T.device).clamp_max(tokens - 1)].view(-1, TILE)


def _assemble(exit_T: Tensor, seen_BB: Tensor, full_BB: Tensor, sees: MaskMod) -> BlockMask:
    tables = (*_ordered(seen_BB & ~full_BB), *_ordered(full_BB & seen_BB))
    lengths = (len(exit_T), len(exit_T))
    return BlockMask.from_kv_blocks(*tables, BLOCK_SIZE=TILE, mask_mod=sees, seq_lengths=lengths)


def _ordered(tiles_BB: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many tiles of keys each tile of queries takes, [1, 1, B], and their order, [1, 1, B, B].

    The order has all tiles of keys; those that are taken come first.
    """
    order_BB = torch.argsort(tiles_BB.int(), dim=-1, descending=True, stable=True)
    return tiles_BB.sum(-1, dtype=torch.int32)[None, None], order_BB.int()[None, None]
