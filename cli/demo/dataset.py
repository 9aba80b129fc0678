"""Makes the demo's dataset from our own sample or any chat file, and keeps some rows out of training."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from cli.commands.files import sample
from core.errors import ConfigurationError

HELD_OUT_SHARE = 0.1
MIN_ROWS = 20  # ten to train on, which is OpenAI's minimum, and ten to keep out

Row = dict[str, Any]


@dataclass(frozen=True)
class DemoDataset:
    """Two files to upload, the rows of the second file, and a score of answers.

    `score` says how near an answer is to the expected one, from 0 to 1.
    """

    name: str
    training: Path
    held_out: Path
    held_out_rows: list[Row]
    score: Callable[[str, str], float]


def sample_dataset(folder: Path) -> DemoDataset:
    """Write the sample: support tickets of a fictional shop, which the model turns into records."""
    for name, content in sample.sample_files().items():
        (folder / name).write_bytes(content)
    training, held_out = folder / sample.TRAINING_NAME, folder / sample.HELD_OUT_NAME
    tickets = [ticket.row for ticket in sample.held_out()]
    return DemoDataset("support tickets (generated)", training, held_out, tickets, sample.score)


def own_dataset(data: Path, folder: Path) -> DemoDataset:
    """Split the user's chat file: about every tenth row, at most 20, is kept out of training.

    Raises ConfigurationError if the file cannot be read or has too few rows. The server reports other errors.
    """
    try:
        # Not splitlines(): it also splits at U+2028 and others, which JSON may contain
        lines = [line for line in data.read_bytes().decode("utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{data} cannot be read: {error}") from error
    if len(lines) < MIN_ROWS:
        raise ConfigurationError(f"{data} has {len(lines)} rows; the demo needs {MIN_ROWS} or more")
    count = min(sample.HELD_OUT_ROWS, max(MIN_ROWS // 2, round(len(lines) * HELD_OUT_SHARE)))
    kept = {round((index + 0.5) * len(lines) / count) for index in range(count)}
    training = folder / sample.TRAINING_NAME
    training.write_text("".join(f"{line}\n" for i, line in enumerate(lines) if i not in kept), "utf-8")
    try:
        rows = [json.loads(line) for i, line in enumerate(lines) if i in kept]
    except ValueError:  # the server gets the file next, and says which line is wrong and why
        rows = []
    return DemoDataset(data.name, training, _write(folder, rows), rows, likeness)


def likeness(answer: str, expected: str) -> float:
    """Return the mean of exact match (0 or 1) and the share of characters that agree in order.

    Spaces at both ends are ignored.
    """
    answer, expected = answer.strip(), expected.strip()
    return (float(answer == expected) + SequenceMatcher(None, answer, expected, autojunk=False).ratio()) / 2


def _write(folder: Path, rows: list[Row]) -> Path:
    path = folder / sample.HELD_OUT_NAME
    path.write_bytes(sample.jsonl(rows))
    return path
