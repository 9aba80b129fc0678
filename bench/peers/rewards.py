"""What trainers of rewards get alike: prompts, a grader, and the settings of sampling and learning.

The peers import it in their own environments, so it uses the standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """One run, in the same words for each trainer. A row has `messages` and what the grader reads."""

    grader: dict[str, Any]
    training: list[Row]
    """The prompts in the order in which they are taken, each once."""
    validation: list[Row]
    batch_size: int
    """Prompts of a step."""
    num_generations: int
    """Answers to each of them."""
    max_completion_tokens: int
    eval_interval: int
    """Steps between two validations. Each prompt is answered once in a validation."""
    learning_rate: float
    """The same in all steps."""
    rank: int
    seed: int
    warm_up_rows: int = 0
    """Rows that a supervised job has learnt before. All trainers continue from its adapter."""

    @property
    def steps(self) -> int:
        return len(self.training) // self.batch_size

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Setup:
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class LearningResult:
    """What a trainer reports of one run."""

    step_seconds: list[float]
    """Of each step: sampling, grading and the update, without validations."""
    step_rewards: list[float]
    """The mean reward of each step's answers."""
    validations: list[tuple[int, float]]
    """Steps, and the mean reward on the prompts held out after so many steps."""
    seconds_to_adapter: float
    """From the start, with loading and validations, until the adapter was there."""
    peak_bytes: int
    """The largest resident set of a process."""
    environment: dict[str, str]
    versions: dict[str, str]

    @property
    def curve(self) -> list[tuple[float, float]]:
        """The seconds of all steps before a validation, and its mean reward."""
        seconds = [0.0, *accumulate(self.step_seconds)]
        return [(seconds[step], reward) for step, reward in self.validations]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def reward_function(grader: dict[str, Any]) -> Callable[[str, Row], float]:
    """Return the function that a grader's source defines: the reward of an answer to a row.

    It runs without a sandbox.
    """
    defined: dict[str, Any] = {}
    exec(grader["source"], defined)  # noqa: S102 - our own graders
    return lambda answer, row: float(defined["grade"]({"output_text": answer}, row))
