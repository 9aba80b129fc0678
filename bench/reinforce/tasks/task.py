"""A task of the benchmark: its rows, its grader, and the settings with which every trainer learns it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.training.workloads import chat

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What is learnt. `rows` makes rows for training and rows that are held out, and reads the data folder.

    A row is a chat with the right answer at its end. Its other keys are the grader's `item`.
    """

    name: str
    rows: Callable[[Path | None, int, int], tuple[list[Row], list[Row]]]
    grader: dict[str, Any]
    """The grader from which each trainer gets its rewards, in OpenAI's form.

    An endpoint has the `source` of its answers instead of a URL.
    """
    max_completion_tokens: int
    learning_rate: float = 2e-4
    steps: int = 16
    held_out: int = 200
    """Prompts to judge on."""
    warm_up_rows: int = 0
    """How many of the rows for training a supervised job learns first. All trainers continue from it."""


def question(
    system: str, examples: Sequence[tuple[str, str]], user: str, answer: str, **of_grader: Any
) -> Row:
    """Return a row whose chat begins with worked examples: pairs of a question and its answer."""
    shown = [turn for example in examples for turn in chat(*example)["messages"]]
    first, *own = chat(user, answer, system)["messages"]
    return {"messages": [first, *shown, *own], **of_grader}


def as_prompt(row: Row) -> Row:
    """Return the row as reinforcement reads it: without the answer, but with the grader's keys."""
    return {**row, "messages": row["messages"][:-1]}


def as_chat(row: Row) -> Row:
    """Return the row as supervised training reads it: only its last answer is learnt."""
    *before, answer = row["messages"]
    return {
        "messages": [{**each, "weight": 0} if each["role"] == "assistant" else each for each in before]
        + [answer]
    }
