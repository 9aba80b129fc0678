"""Answers of a model, in the middle of its training, to the prompts of some rows.

The likeliest token always comes next.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from worker.engine.adapters.adapter import Adapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.in_training import Asked, pieces_in_training
from worker.engine.sampler.requests import Piece, Sampling
from worker.rows.image_store import words_among
from worker.rows.row import Row

Tokens = Sequence[int]


@dataclass(frozen=True)
class Answer:
    """The answer to the prompt of one row. The texts have no special tokens.

    `expected` is the row's own answer, None if that is undesirable. `finished` is false if the model was cut
    off: at the most tokens that an answer may have, or by the `error`, a sentence for the client.
    """

    line: int
    prompt: str
    expected: str | None
    answer: str
    finished: bool
    error: str | None = None


def generate_answers(
    base: ResidentBase,
    adapter: Adapter,
    rows: Sequence[Row],
    max_new_tokens: int,
    max_tokens: int,
    abandon: Callable[[], bool] = lambda: False,
) -> list[Answer]:
    """Answer the prompt before each row's last answer, with at most `max_new_tokens`.

    Several prompts are computed at once, with at most `max_tokens` together, unless the adapter or the base
    model takes the slow path. Raises Abandoned if `abandon` returns true between two tokens.
    """
    most = max_new_tokens + 1  # the token that ends an answer is none of the answer's own
    sampling = Sampling(most, temperature=0, stop_tokens=_learnt_ends(base, rows))
    asked = [
        Asked(row.tokens_L[: answer_span(row).start].tolist(), sampling, images=row.images) for row in rows
    ]
    tokens: list[list[int]] = [[] for _ in rows]
    ends: dict[int, Piece] = {}
    for number, piece in pieces_in_training(base, adapter, asked, max_tokens, abandon):
        if piece.token is not None and piece.finish_reason != "stop":
            tokens[number].append(piece.token)
        if piece.finish_reason is not None:
            ends[number] = piece
    return [
        _answer(base, row, tokens[number][:max_new_tokens], ends[number]) for number, row in enumerate(rows)
    ]


def answer_span(row: Row) -> slice:
    """Return the position of the last answer: the last span of learnt tokens."""
    learnt = np.flatnonzero(row.learnt_L)
    breaks = np.flatnonzero(np.diff(learnt) > 1)
    start = learnt[breaks[-1] + 1] if len(breaks) else learnt[0]
    return slice(int(start), int(learnt[-1]) + 1)


def _answer(base: ResidentBase, row: Row, tokens: Tokens, end: Piece) -> Answer:
    def text(part: Tokens) -> str:
        return str(base.tokenizer.decode(words_among(part), skip_special_tokens=True)).strip()

    expected = answer_span(row)
    return Answer(
        row.line,
        text(row.tokens_L[: expected.start].tolist()),
        text(row.tokens_L[expected].tolist()) if row.desirable else None,
        text(tokens),
        end.finish_reason == "stop",
        end.error,
    )


def _learnt_ends(base: ResidentBase, rows: Sequence[Row]) -> frozenset[int]:
    """Return the special tokens at the ends of the rows' own answers: they end an answer too."""
    learnt = {int(row.tokens_L[answer_span(row).stop - 1]) for row in rows}
    return frozenset(learnt & set(base.tokenizer.all_special_ids))
