"""The parts that all trainers' scripts share: arguments, common settings, token counts, the result file.

Each peer imports it in its own environment. So it uses only the standard library, and transformers for the
tokenizer.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

from bench.command_line import add_base, add_result_file, new_parser

Row = dict[str, Any]
Mode = Literal["defaults", "tuned", "int8"]

SEED = 42
RANK = 16  # unless --rank gives another one; lora_alpha is twice the rank
LEARNING_RATE = 2e-4  # the peak, between a linear warm-up and a cosine down to zero
PAIR_LEARNING_RATE = 2e-5  # for DPO: a tenth of the usual rate
BETA = 0.1  # of DPO
WARMUP_RATIO = 0.03
MAX_GRAD_NORM = 1.0
UNLABELLED = -100  # transformers' mark of a token that the loss leaves out
TARGET_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RECORDED_ENVIRONMENT = (
    *("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD"),
    *("OMP_NUM_THREADS", "GOMP_SPINCOUNT"),
)


@dataclass(frozen=True)
class Task:
    """One run: its base, its rows and its settings."""

    base: Path
    data: Path
    batch_size: int
    """Rows per optimizer step. Each answer of a pair counts as a row."""
    mode: Mode
    out: Path
    rank: int
    adapter: Path | None
    """Folder to save the trained adapter in, in PEFT's form."""
    overrides: dict[str, Any]
    """Settings of the peer that replace the settings of the mode, to try variants."""


@dataclass(frozen=True)
class Encoded:
    """A row as the base's chat template renders it."""

    tokens: list[int]
    answer: int
    """Index of the answer's first token."""
    end: int
    """Index after the answer's end marker. The line break that the template puts after it is no answer."""

    @property
    def labels(self) -> list[int]:
        """Labels in transformers' form: Tunery learns the answer and its end marker."""
        before, after = self.answer, len(self.tokens) - self.end
        return [UNLABELLED] * before + self.tokens[self.answer : self.end] + [UNLABELLED] * after


@dataclass(frozen=True)
class Tokens:
    """Tokens of the rows as the base's chat template renders them, without padding."""

    per_row: list[int]
    answers_per_row: list[int]
    """Tokens in the loss of most peers: the answer, its end marker, and the line break after it."""

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
    rank: int
    real_tokens: int
    """Tokens of the rows without padding: the same for every trainer."""
    computed_tokens: int
    """Tokens that went through the base. Padding counts; shared tokens count each time they are computed."""
    answer_tokens: int
    train_seconds: float
    """Seconds of the whole training run, without imports, loading, tokenising and saving."""
    step_seconds: list[float]
    """From the end of one step to the end of the next; the first one counts from the start of training."""
    peak_bytes: int
    """The most memory that the training process has held: of a GPU if there is one, else its resident set."""
    seconds_to_first_step: float
    """From the start of the process to the end of its first step."""
    seconds_to_adapter: float
    """From the start of the process until its adapter was saved."""
    losses: list[float]
    """One per step: mean cross-entropy over the step's answer tokens, in nats."""
    warm_seconds_to_first_step: float | None = None
    """The same for a second job on the base that is still loaded; None if each job loads its own base."""
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        document = asdict(self) | {
            "tokens_per_second": self.real_tokens / self.train_seconds,
            "computed_tokens_per_second": self.computed_tokens / self.train_seconds,
        }
        path.write_text(json.dumps(document, indent=1) + "\n")


def task_from_arguments(description: str | None) -> Task:
    parser = new_parser(description)
    add_base(parser)
    parser.add_argument("--data", type=Path, required=True, help="JSONL of chat rows, or of pairs")
    parser.add_argument("--batch-size", type=int, required=True, help="rows per optimizer step, >= 1")
    parser.add_argument("--mode", choices=get_args(Mode), required=True)
    add_result_file(parser)
    parser.add_argument("--rank", type=int, default=RANK, help=f"rank of the adapter (default {RANK})")
    parser.add_argument("--adapter", type=Path, help="folder to save the adapter in")
    parser.add_argument(
        "--override", type=json.loads, default={}, help="settings of the peer that replace the mode's, JSON"
    )
    given = parser.parse_args()
    return Task(
        given.base.resolve(),
        given.data,
        given.batch_size,
        given.mode,
        given.out,
        given.rank,
        given.adapter,
        given.override,
    )


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


def holds_pairs(path: Path) -> bool:
    """Return whether the rows are preferences in OpenAI's form: a prompt and two answers."""
    with path.open() as file:
        return "input" in json.loads(file.readline())


def read_conversations(path: Path) -> list[Row]:
    """Read chat rows. A pair becomes two rows: the preferred answer, then the other answer."""
    if not holds_pairs(path):
        return read_rows(path)
    pairs = [json.loads(line) for line in path.read_text().split("\n") if line.strip()]
    return [
        {"messages": [*pair["input"]["messages"], *pair[answer]]}
        for pair in pairs
        for answer in ("preferred_output", "non_preferred_output")
    ]


def encode(base: Path, rows: list[Row]) -> list[Encoded]:
    """Render rows with the base's own tokenizer and chat template.

    Raises ValueError if the tokens of a row do not begin with the tokens of its prompt: then nobody could say
    which tokens belong to the answer.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)

    def tokens_of(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    encoded = []
    for number, row in enumerate(rows, 1):
        messages = row["messages"]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        prompt = tokens_of(
            tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        )
        whole, answered = tokens_of(text), tokens_of(text.rstrip())
        if whole[: len(prompt)] != prompt or whole[: len(answered)] != answered:
            raise ValueError(f"Row {number}: the prompt's tokens are not the beginning of the row's")
        encoded.append(Encoded(whole, len(prompt), len(answered)))
    return encoded


def count_tokens(base: Path, rows: list[Row]) -> Tokens:
    """Count the tokens of the rows once, so that the same work is counted for every trainer."""
    encoded = encode(base, rows)
    return Tokens([len(row.tokens) for row in encoded], [len(row.tokens) - row.answer for row in encoded])


def warmup_steps(steps: int) -> int:
    """Return the warm-up steps, rounded up as transformers does. Trainers get the number."""
    return math.ceil(WARMUP_RATIO * steps)


def steps_of(rows: int, batch_size: int) -> int:
    """Optimizer steps of one epoch."""
    return math.ceil(rows / batch_size)


def learning_rates(steps: int, peak: float = LEARNING_RATE) -> list[float]:
    """Return the learning rate of each of `steps` steps: linear up to the peak, then half a cosine."""
    warm = warmup_steps(steps)
    rising = [peak * step / warm for step in range(warm)]
    falling = [peak * (1 + math.cos(math.pi * step / (steps - warm))) / 2 for step in range(steps - warm)]
    return rising + falling


def peak_bytes() -> int:
    """Return the most bytes that torch has reserved of a GPU, or without one the largest resident set."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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
    """Stop a run whose peer trained on a different number of tokens than is counted for it."""
    if seen != expected:
        raise SystemExit(f"{what}: the peer has {seen}, the base's chat template gives {expected}")


def require_schedule(seen: list[float], steps: int, peak: float = LEARNING_RATE) -> None:
    """Stop a run whose number of steps or learning rates differ from those that all trainers must have."""
    expected = learning_rates(steps, peak)
    if len(seen) != steps or not all(map(math.isclose, seen, expected)):
        raise SystemExit(f"learning rates: the trainer used {seen}, but must use {expected}")
