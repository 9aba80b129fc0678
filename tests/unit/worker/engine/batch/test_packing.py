"""Rows on token axes: every row is whole, beginnings that rows share are laid once, budgets hold."""

import numpy as np
import pytest
import torch

from tests.fixtures.engine.lessons import expected_lessons, lessons
from tests.fixtures.engine.rows import make_rows, shared_rows, with_beginning
from worker.engine.batch.grouping import MIN_SHARED, JobRows
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.batch.pack import pack as pack_on
from worker.rows.row import Row

CPU = torch.device("cpu")


def pack(shares: list[JobRows], max_tokens: int) -> list[MicroBatch]:
    return list(pack_on(shares, max_tokens, CPU))


def rows_of(batch: MicroBatch) -> list[tuple[int, ...]]:
    """The tokens from the root to the end of each segment that no other goes on from."""
    inner = {segment.prefix[-1] for segment in batch.segments if segment.prefix}
    leaves = [s for s in batch.segments if (s.start, s.end) not in inner]
    tokens = batch.tokens_T.tolist()
    return [tuple(t for start, end in leaf.seen for t in tokens[start:end]) for leaf in leaves]


@pytest.mark.parametrize("max_tokens", [60, 150, 10_000])
def test_each_row_is_learnt_whole_whatever_it_shares(max_tokens: int) -> None:
    rows = shared_rows()
    batches = pack([JobRows("job", rows, 0.5)], max_tokens)
    found = [lesson for batch in batches for lesson in lessons(batch, batch.tokens_T)]
    assert sorted(found) == expected_lessons(rows, 0.5)
    assert {row for batch in batches for row in rows_of(batch)} <= {tuple(r.tokens_L.tolist()) for r in rows}
    for batch in batches:
        assert torch.equal(batch.supervised_S, batch.supervised_S.sort().values)


def test_positions_go_on_from_the_prefix() -> None:
    (batch,) = pack([JobRows("job", shared_rows(), 1.0)], 10_000)
    for segment in batch.segments:
        begin = segment.prefix_length
        expected = torch.arange(begin, begin + segment.length)
        assert torch.equal(batch.positions_T[segment.start : segment.end], expected)


def test_a_beginning_that_all_rows_share_is_computed_once() -> None:
    rows = shared_rows()
    (batch,) = pack([JobRows("job", rows, 1.0)], 10_000)
    prompt = 2 * MIN_SHARED
    repeated_prompts = (len(rows) - 1) * prompt
    repeated_turns = 3 * prompt
    within, double = len(rows[6].tokens_L) - 2 * prompt, len(rows[7].tokens_L) - prompt
    logical = sum(len(row.tokens_L) for row in rows)
    assert len(batch.tokens_T) == logical - repeated_prompts - repeated_turns - within - double


def test_a_short_common_beginning_is_not_shared() -> None:
    rows = [with_beginning(np.arange(MIN_SHARED - 1, dtype=np.int32), row) for row in make_rows(4, 1)]
    (batch,) = pack([JobRows("job", rows, 1.0)], 10_000)
    assert all(not segment.prefix for segment in batch.segments)


def test_jobs_share_nothing_and_lie_side_by_side() -> None:
    rows = shared_rows()
    (batch,) = pack([JobRows("a", rows, 1.0), JobRows("b", rows, 1.0)], 10_000)
    half = len(batch.tokens_T) // 2
    assert batch.adapter_tokens == {"a": slice(0, half), "b": slice(half, 2 * half)}
    for segment in batch.segments:
        assert all((start < half) == (segment.start < half) for start, _ in segment.prefix)


def test_only_a_row_longer_than_the_budget_exceeds_it() -> None:
    rows = [*shared_rows(), *make_rows(1, 5)]
    for batch in pack([JobRows("job", rows, 1.0)], 90):
        assert len(batch.tokens_T) <= 90 or len(rows_of(batch)) == 1


def test_beginnings_too_short_to_be_shared_count_for_the_budget() -> None:
    """Two kinds of rows behind one prompt: what the rows of a kind have in common is too short."""
    prompt = np.arange(100, dtype=np.int32)
    rows = []
    for row in make_rows(60, 0):
        kind = np.full(MIN_SHARED - 1, 201 + row.line % 2)
        rows.append(with_beginning(np.concatenate([prompt, kind, [row.line]]).astype(np.int32), row))
    batches = pack([JobRows("job", rows, 1.0)], 1_000)
    assert max(len(batch.tokens_T) for batch in batches) <= 1_000
    assert {segment.prefix_length for batch in batches for segment in batch.segments} == {0, len(prompt)}


@pytest.mark.parametrize("max_tokens", [60, 90, 200])
def test_the_rows_of_an_example_stay_together_if_they_fit(max_tokens: int) -> None:
    rows = make_rows(40, 0)
    batches = pack([JobRows("a", rows[:1], 1.0), JobRows("b", rows, 1.0, rows_per_example=2)], max_tokens)
    of_row = [[number for number, batch in enumerate(batches) if row in batch.rows_S] for row in range(1, 41)]
    for number, (one, other) in enumerate(zip(of_row[0::2], of_row[1::2], strict=True)):
        fits = sum(len(row.tokens_L) for row in rows[2 * number : 2 * number + 2]) <= max_tokens
        assert len(one) == len(other) == 1
        assert one == other or not fits


def test_an_answer_that_begins_another_one_is_learnt_although_it_comes_later() -> None:
    """Examples stay together, so the rows are not always in the order of their tokens."""
    prompt = np.arange(100, dtype=np.int32)
    answers = [[7, 8, 9], [7, 9, 9], [7], [8]]
    rows = [
        Row(line, np.append(prompt, answer).astype(np.int32), np.arange(100 + len(answer)) >= 100)
        for line, answer in enumerate(answers)
    ]
    (batch,) = pack([JobRows("job", rows, 1.0, rows_per_example=2)], 10_000)
    assert sorted(lessons(batch, batch.tokens_T)) == expected_lessons(rows, 1.0)
    assert len(batch.tokens_T) <= 100 + sum(map(len, answers))


def test_a_long_chain_of_rows_within_each_other_is_computed_once() -> None:
    """A file with a row for each turn of one long conversation has as many levels as rows."""
    turns = 1_200
    conversation = np.random.default_rng(0).integers(0, 300, turns * MIN_SHARED).astype(np.int32)
    ends = range(MIN_SHARED, len(conversation) + 1, MIN_SHARED)
    rows = [Row(line, conversation[:end], np.arange(end) == end - 1) for line, end in enumerate(ends)]
    (batch,) = pack([JobRows("job", rows, 1.0)], len(conversation))
    assert batch.tokens_T.tolist() == conversation.tolist()
    assert batch.supervised_S.tolist() == [end - 2 for end in ends]
    assert batch.segments[-1].prefix_length == len(conversation) - MIN_SHARED


def test_micro_batches_are_as_few_as_possible_and_of_like_size() -> None:
    rows = make_rows(40, 0)
    longest = max(len(row.tokens_L) for row in rows)
    lengths = [len(batch.tokens_T) for batch in pack([JobRows("job", rows, 1.0)], 200)]
    assert len(lengths) == -(-sum(lengths) // 200)
    assert max(lengths) - min(lengths) <= 2 * longest
