"""The benchmark's arithmetic and its table, from results that no trainer had to produce."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))

from counting import needed_operations, share_of_ceiling
from report import Run, kept, summarise, table

TINY = {
    "hidden_size": 4,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 2,
    "vocab_size": 10,
}
# Matrices of a layer: 4x4, 4x2, 4x2, 4x4, 4x8, 4x8, 8x4; so N = 2 * 144 and sum(m + n) = 2 * 64.
WEIGHTS_OF_8_TOKENS = 4 * 288 * 8
HEAD_OF_3_ANSWERS = 4 * 4 * 10 * 3
ATTENTION_OF_ROWS_OF_3_AND_5 = 7 * 4 * 2 * (9 + 25)
ADAPTERS_OF_RANK_2 = 6 * 2 * 128 * 8
OPERATIONS = 23_888


def result(tokens_per_second: float, **changed: Any) -> dict[str, Any]:
    tokens = 8
    fields = {
        "rows": 2,
        "batch_size": 8,
        "real_tokens": tokens,
        "answer_tokens": 3,
        "train_seconds": tokens / tokens_per_second,
        "tokens_per_second": tokens_per_second,
        "step_seconds": [0.5] * 1000,
        "peak_rss_bytes": 2_500_000_000,
        "seconds_to_first_step": 4.0,
        "losses": [1.5, 1.25],
        "settings": {},
        "environment": {},
        "versions": {"torch": "2.0"},
    }
    return fields | changed


def row_of(text: str, trainer: str) -> list[str]:
    """The cells of a trainer's row, without the trainer."""
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {trainer} ")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def shown(runs: list[Run], ceiling_gflops: float | None = 1.0) -> str:
    return table(summarise(runs, OPERATIONS, ceiling_gflops), runs)


def test_operations_are_those_counted_by_hand(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    terms = [WEIGHTS_OF_8_TOKENS, HEAD_OF_3_ANSWERS, ATTENTION_OF_ROWS_OF_3_AND_5, ADAPTERS_OF_RANK_2]
    assert sum(terms) == OPERATIONS
    assert needed_operations(tmp_path, [3, 5], 3, rank=2) == OPERATIONS


def test_share_is_the_needed_rate_by_the_measured_one() -> None:
    assert share_of_ceiling(OPERATIONS, seconds=2.0, ceiling_gflops=OPERATIONS / 1e9) == pytest.approx(0.5)


def test_table_shows_ratio_and_share() -> None:
    runs = [Run("Tunery", 1, result(20.0)), Run("TRL defaults", 1, result(8.0))]
    text = shown(runs, ceiling_gflops=4 * OPERATIONS / 1e9)  # TRL takes 1 s, so it has a quarter
    assert row_of(text, "Tunery") == ["20", "2.50", "62%", "2.5", "4.0", "1.500", "1.250"]
    assert row_of(text, "TRL defaults")[1:3] == ["1.00", "25%"]
    assert len({len(line) for line in text.splitlines()}) == 1


def test_table_shows_the_median_of_several_runs() -> None:
    rates = {"Tunery": [30.0, 10.0, 20.0], "TRL defaults": [5.0, 100.0, 10.0]}
    runs = [Run(name, number, result(rate)) for name in rates for number, rate in enumerate(rates[name], 1)]
    assert row_of(shown(runs), "Tunery")[:2] == ["20", "2.00"]


def test_failed_peer_is_shown_with_its_reason_and_the_others_stay() -> None:
    runs = [
        Run("TRL defaults", 1, result(8.0)),
        Run("TRL tuned", 1, failure="MemoryError: no room"),
        Run("Tunery", 1, result(16.0)),
    ]
    text = shown(runs)
    assert row_of(text, "TRL tuned") == ["failed", *["–"] * 6]
    assert "- TRL tuned, run 1 failed: MemoryError: no room" in text.splitlines()
    assert row_of(text, "Tunery")[:2] == ["16", "2.00"]


def test_a_run_that_failed_does_not_hide_those_that_did_not() -> None:
    runs = [Run("TRL defaults", 1, failure="killed"), Run("TRL defaults", 2, result(8.0))]
    text = shown(runs)
    assert row_of(text, "TRL defaults")[0] == "8"
    assert "- TRL defaults, run 1 failed: killed" in text.splitlines()


def test_without_reference_or_ceiling_there_is_neither_ratio_nor_share() -> None:
    runs = [Run("Tunery", 1, result(20.0)), Run("TRL defaults", 1, failure="killed")]
    assert row_of(shown(runs, ceiling_gflops=None), "Tunery")[:3] == ["20", "–", "–"]


def test_of_a_runs_lists_only_the_losses_are_kept() -> None:
    written = kept(Run("Tunery", 1, result(20.0, losses=[1.23456, 1.0])))
    assert [name for name, value in written.items() if isinstance(value, list)] == ["losses"]
    assert written["losses"] == [1.2346, 1.0]
