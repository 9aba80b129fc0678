"""Companions: what each row of a job with KTO is compared with."""

import numpy as np

from tests.fixtures.engine.objectives import pairs
from worker.rendering.companions import with_companions


def test_a_companion_is_the_prompt_with_another_rows_answer() -> None:
    rows = pairs(6)[::2]
    found = list(with_companions(rows, seed=7, max_length=512))
    assert found[::2] == rows
    answers = {row.tokens_L[row.learnt_L].tobytes() for row in rows}
    for row, companion in zip(found[::2], found[1::2], strict=True):
        prompt = row.tokens_L[~row.learnt_L]
        assert np.array_equal(companion.tokens_L[~companion.learnt_L], prompt)
        answer = companion.tokens_L[companion.learnt_L].tobytes()
        assert answer in answers
        assert answer != row.tokens_L[row.learnt_L].tobytes()
    cut = list(with_companions(rows, seed=7, max_length=12))[1::2]
    assert all(row.supervised for row in cut)
