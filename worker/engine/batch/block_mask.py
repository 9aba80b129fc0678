"""What each token may see, as FlexAttention's block mask (Dong et al. 2024, arXiv:2412.05496).

Segments lie in depth-first order, so whatever sees a token of a segment stands in one run: from that token to
the end of the last segment that has this one in its prefix, the token's exit.

    q sees k  ⟺  k ≤ q < exit(k)

So the whole forest is one number per key, and a tile of queries and keys is empty, full or mixed by the
smallest and the largest exit among its keys. B stands for tiles.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from worker.engine.batch.micro_batch import Run, Segment

TILE = 128  # FlexAttention's own size; its kernels take no smaller one at full speed

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""FlexAttention's: batch, head, query, key -> whether the query sees the key."""


def exits(segments: Sequence[Segment]) -> Tensor:
    """For each token of the axis, the end of those that see it: [T], on the CPU.

    Raises ValueError where the segments are not in depth-first order, which is how they are packed.
    """
    ends: dict[Run, int] = {}
    chain: list[Run] = []
    for segment in segments:
        del chain[len(segment.prefix) :]
        if tuple(chain) != segment.prefix:
            raise ValueError(f"{segment} does not follow its prefix in depth-first order")
        chain.append((segment.start, segment.end))
        ends |= dict.fromkeys(chain, segment.end)
    lengths = torch.tensor([segment.length for segment in segments])
    return torch.tensor(list(ends.values()), dtype=torch.int32).repeat_interleave(lengths)


def block_mask(exit_T: Tensor) -> BlockMask:
    """Everything that the segments allow; for all heads and layers of a micro-batch."""
    seen_BB, full_BB = _tiles(exit_T)
    return _assemble(exit_T, seen_BB, full_BB, _sees(exit_T))


def window_mask(exit_T: Tensor, positions_T: Tensor, window: int) -> BlockMask:
    """The same within a window: only keys whose position is less than `window` before the query's."""
    seen_BB, full_BB = _tiles(exit_T)
    lowest_B, highest_B = _by_tiles(positions_T).aminmax(dim=1)
    # A tile is dropped, or full, where its nearest, or farthest, positions say so
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
    """Tiles, queries by keys, in which some query sees some key, and in which every query sees every key."""
    first_B, last_B = _by_tiles(exit_T).aminmax(dim=1)
    tile_B = torch.arange(len(first_B), device=exit_T.device)
    before_BB = tile_B < tile_B[:, None]
    seen_BB = before_BB & (last_B > tile_B[:, None] * TILE) | (tile_B == tile_B[:, None])
    full_BB = before_BB & (first_B >= (tile_B[:, None] + 1) * TILE)
    return seen_BB, full_BB


def _by_tiles(x_T: Tensor) -> Tensor:
    """[B, TILE]; the last one is filled with its last value."""
    tokens = len(x_T)
    padded = -(-tokens // TILE) * TILE
    return x_T[torch.arange(padded, device=x_T.device).clamp_max(tokens - 1)].view(-1, TILE)


def _assemble(exit_T: Tensor, seen_BB: Tensor, full_BB: Tensor, sees: MaskMod) -> BlockMask:
    tables = (*_ordered(seen_BB & ~full_BB), *_ordered(full_BB & seen_BB))
    lengths = (len(exit_T), len(exit_T))
    return BlockMask.from_kv_blocks(*tables, BLOCK_SIZE=TILE, mask_mod=sees, seq_lengths=lengths)


def _ordered(tiles_BB: Tensor) -> tuple[Tensor, Tensor]:
    """How many tiles of keys each tile of queries takes, [1, 1, B], and which, those first: [1, 1, B, B]."""
    order_BB = torch.argsort(tiles_BB.int(), dim=-1, descending=True, stable=True)
    return tiles_BB.sum(-1, dtype=torch.int32)[None, None], order_BB.int()[None, None]
