"""Attention's pieces: every query once, with the keys before it, and only like pieces in one product."""

from core.estimates.activations import QUERY_BLOCK
from worker.engine.batch.bundles import PADDING, SCORES, Bundle, bundle
from worker.engine.batch.micro_batch import Segment

LONG = Segment(0, 2 * QUERY_BLOCK + 10)
PROMPT = Segment(LONG.end, LONG.end + 100)
ENDS = [
    Segment(PROMPT.end + 30 * index, PROMPT.end + 30 * (index + 1), ((PROMPT.start, PROMPT.end),))
    for index in range(8)
]
SEGMENTS = [LONG, PROMPT, *ENDS]


def test_every_query_stands_in_one_piece() -> None:
    pieces = [piece for one in bundle(SEGMENTS) for piece in one.pieces]
    queries = sorted(query for piece in pieces for query in range(*piece.queries))
    assert queries == list(range(ENDS[-1].end))


def test_a_piece_sees_its_prefix_and_its_segment_up_to_its_last_query() -> None:
    pieces = {piece.queries: piece.keys for one in bundle(SEGMENTS) for piece in one.pieces}
    assert pieces[(QUERY_BLOCK, 2 * QUERY_BLOCK)] == ((0, 2 * QUERY_BLOCK),)
    assert pieces[(ENDS[3].start, ENDS[3].end)] == (
        (PROMPT.start, PROMPT.end),
        (ENDS[3].start, ENDS[3].end),
    )
    assert pieces[(ENDS[0].start, ENDS[0].end)] == ((PROMPT.start, ENDS[0].end),), "side by side: one span"


def test_in_a_window_a_piece_has_only_the_keys_that_one_of_its_queries_sees() -> None:
    pieces = {piece.queries: piece.keys for one in bundle(SEGMENTS, window=40) for piece in one.pieces}
    assert pieces[(QUERY_BLOCK, 2 * QUERY_BLOCK)] == ((QUERY_BLOCK - 39, 2 * QUERY_BLOCK),)
    own = (ENDS[3].start, ENDS[3].end)
    assert pieces[own] == ((PROMPT.end - 39, PROMPT.end), own)


def test_short_rows_of_like_length_share_a_product_and_long_ones_do_not() -> None:
    bundles = bundle(SEGMENTS)
    assert max(len(one.pieces) for one in bundles) == len(ENDS)
    assert all(len(one.pieces) == 1 for one in bundles if one.query_count == QUERY_BLOCK)


def test_a_bundle_stays_in_the_cache_and_pads_little() -> None:
    lengths = [3, 5, 9, 17, 33, 60, 61, 62, 120, 200, 250]
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    segments = [Segment(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    for one in bundle(segments):
        if len(one.pieces) > 1:
            needed = sum(piece.query_count * piece.key_count for piece in one.pieces)
            assert padded_scores(one) <= min(SCORES, PADDING * needed)


def padded_scores(one: Bundle) -> int:
    return len(one.pieces) * one.query_count * one.key_count
