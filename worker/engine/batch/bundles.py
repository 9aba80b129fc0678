"""Attention's work on a micro-batch, cut into pieces that are bundled for batched products."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.estimates.activations import QUERY_BLOCK
from worker.engine.batch.micro_batch import Segment, Span

# Scores of a bundle for each head at most: so many stay in a core's cache from the product to the softmax
SCORES = 256 * 256
PADDING = 1.25  # scores of a bundle, with padding, over the scores of its pieces, at most


@dataclass(frozen=True)
class Piece:
    """Queries of one segment, and the spans of keys that the last of the queries sees, in order."""

    queries: Span
    keys: tuple[Span, ...]

    @property
    def query_count(self) -> int:
        return self.queries[1] - self.queries[0]

    @property
    def key_count(self) -> int:
        return sum(end - start for start, end in self.keys)

    def key_spans(self) -> Iterator[tuple[Span, Span]]:
        """Yield each span of keys, and where it lies among the keys that the piece sees."""
        seen = 0
        for start, end in self.keys:
            yield (start, end), (seen, seen + end - start)
            seen += end - start


@dataclass(frozen=True)
class Bundle:
    """Pieces of similar size, which are padded at their ends to equal numbers of queries and of keys."""

    pieces: Sequence[Piece]

    @property
    def query_count(self) -> int:
        return max(piece.query_count for piece in self.pieces)

    @property
    def key_count(self) -> int:
        return max(piece.key_count for piece in self.pieces)

    def causal_mask(self, heads: int, group: int, like: Tensor, window: int | None = None) -> Tensor:
        """Return the mask of the bundle's last keys: 0 where a query may see a key, else -inf.

        It is [heads · pieces, queries · group, last keys], and [1, ...] for one piece. The keys before the
        last keys are seen by every query. With a `window` a query sees only its own key and those of the
        `window - 1` positions before.
        """
        queries = torch.arange(self.query_count, device=like.device).repeat_interleave(group)
        before = [piece.key_count - piece.query_count for piece in self.pieces]
        narrow = window if window is not None and window < self.key_count else None
        keys = torch.arange(min(before) if narrow is None else 0, self.key_count, device=like.device)
        last_seen = torch.tensor(before, device=like.device)[:, None] + queries
        mask = like.new_zeros(len(self.pieces), len(queries), len(keys))
        mask.masked_fill_(keys > last_seen[..., None], float("-inf"))
        if narrow is not None:
            # Queries of the padding see the piece's last key at least: a softmax of nothing is not a number
            last_own = torch.tensor([piece.key_count - 1 for piece in self.pieces], device=like.device)
            first_seen = torch.minimum(last_seen, last_own[:, None]) - narrow + 1
            mask.masked_fill_(keys < first_seen[..., None], float("-inf"))
        return mask if len(self.pieces) == 1 else mask.repeat(heads, 1, 1)

    def seen_keys(self, group: int, window: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the first key that each query sees, and the one behind its last.

        Both are int32, [pieces, queries · group]. Queries of the padding see at least one key.
        """
        queries = torch.arange(self.query_count).repeat_interleave(group)
        counts = [(piece.key_count, piece.key_count - piece.query_count) for piece in self.pieces]
        last_own, before = torch.tensor(counts).T[:, :, None]
        end = (before + queries + 1).clamp(max=self.key_count)
        first = torch.zeros_like(end) if window is None else torch.minimum(end, last_own) - window
        return first.clamp(min=0).int(), end.int()


def bundle(segments: Sequence[Segment], first_query: int = 0, window: int | None = None) -> list[Bundle]:
    """Return all pieces of the segments in bundles, the largest pieces first.

    The piece's queries are counted from the token `first_query` of the axis, its keys from the axis's start.
    With a `window` a piece has no keys that lie more than `window - 1` positions before its first query.
    """
    pieces = sorted(
        (piece for segment in segments for piece in _pieces(segment, first_query, window)),
        key=lambda piece: (piece.key_count, piece.query_count),
        reverse=True,
    )
    bundles: list[list[Piece]] = []
    for piece in pieces:
        if not bundles or not _belong_together([*bundles[-1], piece]):
            bundles.append([])
        bundles[-1].append(piece)
    return [Bundle(pieces) for pieces in bundles]


def _pieces(segment: Segment, first_query: int, window: int | None) -> Iterator[Piece]:
    for start in range(segment.start, segment.end, QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, segment.end)
        seen: Sequence[Span] = (*segment.prefix, (segment.start, end))
        if window is not None:
            seen = _last(seen, end - start + window - 1)
        yield Piece((start - first_query, end - first_query), _joined(seen))


def _last(spans: Sequence[Span], tokens: int) -> list[Span]:
    """Return the spans that hold the last `tokens` of the given ones."""
    kept: list[Span] = []
    for start, end in reversed(spans):
        if tokens > 0:
            kept.insert(0, (max(start, end - tokens), end))
        tokens -= end - start
    return kept


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return the spans, with neighbours joined into one span, whose keys need no copy."""
    joined = [spans[0]]
    for start, end in spans[1:]:
        if start == joined[-1][1]:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return tuple(joined)


def _belong_together(pieces: Sequence[Piece]) -> bool:
    padded = Bundle(pieces)
    scores = len(pieces) * padded.query_count * padded.key_count
    needed = sum(piece.query_count * piece.key_count for piece in pieces)
    return scores <= min(SCORES, PADDING * needed)
