"""Renders single rows for somebody who looks at them: with the code, the limits and the process of trainings.

What a row would cost or do to its process stays with the row: the others are answered all the same.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from core.errors import JobError
from core.serving.previews import ConversationPreview, RowError, RowPreview, Segment
from worker.dataset_checks.all_rows.columns import RowLengths
from worker.rendering.render import Conversation, Rendering, is_taken
from worker.rendering.render_request import PreviewRequest
from worker.rendering.row_limits import Line, limited

SHOWN_TOKENS = 20_000  # of one conversation
SHOWN_CUT = 2000  # characters behind the limit

Look = Callable[[Rendering, Line], RowPreview | RowLengths]


def answer_looks(channel: Connection, tokenizer: Any, request: PreviewRequest) -> None:
    """Send the tokenizer's control tokens, and answer each list of rows with a list of looks.

    Raises EOFError when nobody asks any more.
    """
    channel.send(control_tokens(tokenizer))
    look: Look = preview_of if request.look == "preview" else lengths_of
    while True:
        kind, rows = channel.recv()
        rendering = Rendering(tokenizer, request.max_length, None, kind)
        lines = limited(rows, None, request.row_seconds, request.row_bytes)
        channel.send([look(rendering, line) for line in lines])


def control_tokens(tokenizer: Any) -> list[str]:
    """Return the texts that the tokenizer reads as one token with a meaning of its own."""
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return sorted({*added, *tokenizer.all_special_tokens})


def lengths_of(rendering: Rendering, line: Line) -> RowLengths:
    """Return the lengths of a row; of two answers, those of the longer one."""
    try:
        parts = rendering.conversations(*line)
    except JobError as error:
        return RowLengths(0, 0, False, error.message[:1].lower() + error.message[1:])
    return lengths_of_parts(parts)


def lengths_of_parts(parts: Sequence[Conversation]) -> RowLengths:
    """Return the lengths of a rendered row."""
    longest = max(parts, key=lambda part: part.tokens)
    learnt_L = longest.row.learnt_L
    prompt_tokens = int(learnt_L.argmax()) if learnt_L.any() else len(learnt_L)
    return RowLengths(longest.tokens, prompt_tokens, is_taken(parts))


def preview_of(rendering: Rendering, line: Line) -> RowPreview:
    """Return a row as training sees it, or why its template refuses it."""
    try:
        parts = rendering.conversations(*line)
    except JobError as error:
        return RowPreview(line=line[0], error=RowError(code=error.code, message=str(error)))
    return RowPreview(line=line[0], is_learnt=is_taken(parts), conversations=list(map(_shown, parts)))


def _shown(part: Conversation) -> ConversationPreview:
    row = part.row
    end = int(part.offsets_LE[:, 1].max(initial=0))
    return ConversationPreview(
        desirable=row.desirable,
        tokens=len(row.tokens_L),
        learnt_tokens=row.supervised,
        cut_tokens=part.cut_tokens,
        cut_text=part.text[end : end + SHOWN_CUT],
        segments=_segments(part),
        shown_tokens=min(len(row.tokens_L), SHOWN_TOKENS),
    )


def _segments(part: Conversation) -> list[Segment]:
    """Return the conversation in parts whose tokens are learnt alike.

    The texts of all parts are the text up to the limit: what lies between two tokens belongs to the earlier
    part. The first token is learnt by no row, since nothing comes before it.
    """
    row = part.row
    weights_L = np.where(row.learnt_L, 1.0 if row.weights_L is None else row.weights_L, 0.0)
    weights_L[:1] = 0.0
    weights = weights_L[:SHOWN_TOKENS].tolist()
    groups = [list(positions) for _, positions in groupby(range(len(weights)), weights.__getitem__)]
    begins = [0, *(int(part.offsets_LE[positions[0], 0]) for positions in groups[1:])]
    ends = [*begins[1:], int(part.offsets_LE[: len(weights), 1].max(initial=0))]
    return [
        Segment(
            text=part.text[begin:end],
            learnt=weights[positions[0]] > 0,
            weight=weights[positions[0]],
            tokens=len(positions),
            token_ids=row.tokens_L[positions].tolist(),
        )
        for positions, begin, end in zip(groups, begins, ends, strict=True)
    ]
