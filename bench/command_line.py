"""The command-line options that several commands of `bench` have in common.

The peers' scripts import this module in their own environments, so it uses the standard library alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import ROOT


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that prints the module's docstring as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)


def add_base(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base", type=Path, required=True, help="folder of the base model: safetensors and tokenizer"
    )


def add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models",
        type=Path,
        default=ROOT / ".tunery/models",
        help="folder of all base models (default .tunery/models)",
    )


def add_result_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="the result file to write, JSON")


def write_again(description: str | None, write: Callable[[Path, Any], object]) -> None:
    """Run the command that takes a JSON file with results, and has `write` make its page again."""
    parser = new_parser(description)
    parser.add_argument("results", type=Path, help="the JSON file with the results of a day")
    given = parser.parse_args()
    write(given.results, json.loads(given.results.read_text()))


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def names_in(text: str, known: list[str]) -> list[str]:
    """Split names at their commas, and refuse names that are not in `known`."""
    names = text.split(",")
    if unknown := sorted(set(names) - set(known)):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return names
