"""What every peer's script shares: its arguments, the token count, and the result file.

It is imported inside each peer's own environment, so it uses the standard library, and transformers for
the tokenizer alone.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

Row = dict[str, Any]
Mode = Literal["defaults", "tuned"]

SEED = 42
TARGET_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RECORDED_ENVIRONMENT = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Task:
    """One run: which base, which rows, how."""

    base: Path
    data: Path
    batch_size: int
    """Rows per optimizer step."""
    mode: Mode
    out: Path
    overrides: dict[str, Any]
    """The peer's own settings, replacing those of the mode: for trying variants."""


@dataclass(frozen=True)
class Tokens:
    """Tokens of the rows as the base's chat template renders them, without padding."""

    per_row: list[int]
    answers_per_row: list[int]
    """What the loss sees: the answer, its end marker and what the template puts after it."""

    @property
    def total(self) -> int:
        return sum(self.per_row)

    @property
    def answers(self) -> int:
        return sum(self.answers_per_row)


@dataclass(frozen=True)
class Result:
    """The contents of a result file."""

    peer: str
    mode: Mode
    rows: int
    batch_size: int
    """Rows per optimizer step, as asked for."""
    real_tokens: int
    answer_tokens: int
    train_seconds: float
    """The whole training run; without imports, loading, tokenising and saving."""
    step_seconds: list[float]
    """From the end of one step to the end of the next; the first one counts from the start of training."""
    peak_rss_bytes: int
    """The largest resident set of the training process over its whole life."""
    seconds_to_first_step: float
    """From the start of the process to the start of training."""
    losses: list[float]
    """One per step: mean cross-entropy over the step's answer tokens, in nats."""
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        document = asdict(self) | {"tokens_per_second": self.real_tokens / self.train_seconds}
        path.write_text(json.dumps(document, indent=1) + "\n")


def task_from_arguments(description: str | None) -> Task:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the base: safetensors and tokenizer")
    parser.add_argument("--data", type=Path, required=True, help="JSONL of chat rows, one answer each")
    parser.add_argument("--batch-size", type=int, required=True, help="rows per optimizer step, >= 1")
    parser.add_argument("--mode", choices=["defaults", "tuned"], required=True)
    parser.add_argument("--out", type=Path, required=True, help="the result file to write, JSON")
    parser.add_argument("--override", type=json.loads, default={}, help="the peer's own settings, JSON")
    given = parser.parse_args()
    return Task(given.base.resolve(), given.data, given.batch_size, given.mode, given.out, given.override)


def read_rows(path: Path) -> list[Row]:
    """Read chat rows. Raises ValueError unless each ends with its only assistant message, the answer."""
    rows = [json.loads(line) for line in path.read_text().split("\n") if line.strip()]
    for number, row in enumerate(rows, 1):
        roles = [message["role"] for message in row["messages"]]
        if roles.count("assistant") != 1 or roles[-1] != "assistant":
            raise ValueError(f"{path}: row {number} has the roles {roles}; it must end with its only answer")
    if not rows:
        raise ValueError(f"{path} has no rows")
    return rows


def count_tokens(base: Path, rows: list[Row]) -> Tokens:
    """Count with the base's own tokenizer and chat template: every trainer is credited the same work."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)

    def length(messages: list[dict[str, str]], *, prompt: bool) -> int:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    per_row = [length(row["messages"], prompt=False) for row in rows]
    prompts = [length(row["messages"][:-1], prompt=True) for row in rows]
    return Tokens(per_row, [whole - prompt for whole, prompt in zip(per_row, prompts, strict=True)])


def recorded_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in RECORDED_ENVIRONMENT if name in os.environ}


def versions_of(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def require_equal(what: str, seen: int, expected: int) -> None:
    """Stop a run whose peer trained on other tokens than it is credited for."""
    if seen != expected:
        raise SystemExit(f"{what}: the peer has {seen}, the base's chat template gives {expected}")
