"""The general set, by which evals see what a model has forgotten."""

import json
from importlib import resources

from core.datasets.row_check import RULES


def test_every_general_question_is_a_sound_row_with_a_short_answer() -> None:
    lines = resources.files("core.evals").joinpath("general.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert 90 <= len(rows) <= 120
    for row in rows:
        assert list(RULES["chat"](row)) == []
        question, answer = row["messages"]
        assert (question["role"], answer["role"]) == ("user", "assistant")
        assert len(answer["content"]) <= 40
    questions = [row["messages"][0]["content"] for row in rows]
    assert len(set(questions)) == len(questions)
