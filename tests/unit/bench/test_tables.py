"""The benchmark's arithmetic and its tables, from results that are written here by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.page import merge, section_text
from bench.pages.report import Run, failures, kept, rounded, share_of_ceiling, summarise, table
from bench.peers.measuring import Tokens
from bench.performance import performance_page
from bench.scale.page import CLAIM
from bench.training import sixteen_jobs
from bench.training.counting import needed_operations
from bench.training.workloads import Files

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
        "rank": 2,
        "real_tokens": tokens,
        "computed_tokens": 10,
        "answer_tokens": 3,
        "train_seconds": tokens / tokens_per_second,
        "tokens_per_second": tokens_per_second,
        "computed_tokens_per_second": 1.25 * tokens_per_second,
        "step_seconds": [0.5] * 1000,
        "peak_rss_bytes": 2_500_000_000,
        "seconds_to_first_step": 4.0,
        "warm_seconds_to_first_step": None,
        "seconds_to_adapter": 9.0,
        "validation_loss": 1.25,
        "losses": [1.5, 1.25],
        "settings": {},
        "environment": {},
        "versions": {"torch": "2.0"},
    }
    return fields | changed


def row_of(text: str, trainer: str) -> list[str]:
    """Return the cells of a trainer's row, without its name."""
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {trainer} ")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def shown(runs: list[Run], ceiling_gflops: float | None = 1.0) -> str:
    text = table(summarise(runs, OPERATIONS, ceiling_gflops))
    return text + failures([kept(run) for run in runs])


def jobs_result(makespan_seconds: float, **changed: Any) -> dict[str, Any]:
    fields = {
        "jobs_run": 4,
        "makespan_seconds": makespan_seconds,
        "seconds_to_adapter": [makespan_seconds / 16] * 4,
        "peak_rss_bytes": 3_000_000_000,
        "validation_loss": 2.0,
        "settings": {},
        "versions": {"torch": "2.0"},
    }
    return fields | changed


def test_operations_are_those_counted_by_hand(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    terms = [WEIGHTS_OF_8_TOKENS, HEAD_OF_3_ANSWERS, ATTENTION_OF_ROWS_OF_3_AND_5, ADAPTERS_OF_RANK_2]
    assert sum(terms) == OPERATIONS
    assert needed_operations(tmp_path, [3, 5], 3, rank=2) == OPERATIONS
    forward = WEIGHTS_OF_8_TOKENS // 2 + HEAD_OF_3_ANSWERS // 2 + ATTENTION_OF_ROWS_OF_3_AND_5 * 2 // 7
    assert needed_operations(tmp_path, [3, 5], 3, rank=2, reference=True) == OPERATIONS + forward


def test_share_is_the_needed_rate_by_the_measured_one() -> None:
    assert share_of_ceiling(OPERATIONS, seconds=2.0, ceiling_gflops=OPERATIONS / 1e9) == pytest.approx(0.5)


def test_table_shows_ratio_and_share() -> None:
    runs = [Run("Tunery", 1, result(20.0)), Run("TRL defaults", 1, result(8.0))]
    text = shown(runs, ceiling_gflops=4 * OPERATIONS / 1e9)  # TRL takes 1 s, so it has a quarter
    assert row_of(text, "Tunery")[:5] == ["20", "25", "2.50", "62%", "2.5"]
    assert row_of(text, "TRL defaults")[2:4] == ["1.00", "25%"]
    assert len({len(line) for line in text.splitlines()}) == 1


def test_first_step_is_shown_cold_and_warm_where_a_base_stays_loaded() -> None:
    runs = [
        Run("Tunery", 1, result(20.0, warm_seconds_to_first_step=0.75)),
        Run("TRL defaults", 1, result(8.0)),
    ]
    text = shown(runs)
    assert row_of(text, "Tunery")[5:7] == ["4.0", "0.8"]
    assert row_of(text, "TRL defaults")[5:7] == ["4.0", "–"]


def test_our_validation_loss_is_compared_with_each_peers() -> None:
    runs = [
        Run("Tunery", 1, result(20.0, validation_loss=1.01)),
        Run("TRL defaults", 1, result(8.0, validation_loss=1.0)),
        Run("TRL tuned", 1, result(8.0, validation_loss=1.25)),
    ]
    text = shown(runs)
    assert row_of(text, "Tunery")[7:] == ["1.0100", "–"]
    assert row_of(text, "TRL defaults")[7:] == ["1.0000", "+1.00%"]
    assert row_of(text, "TRL tuned")[7:] == ["1.2500", "-19.20%"]


def test_table_shows_the_median_of_several_runs() -> None:
    rates = {"Tunery": [30.0, 10.0, 20.0], "TRL defaults": [5.0, 100.0, 10.0]}
    runs = [Run(name, number, result(rate)) for name in rates for number, rate in enumerate(rates[name], 1)]
    assert row_of(shown(runs), "Tunery")[:3] == ["20", "25", "2.00"]


def test_failed_peer_is_shown_with_its_reason_and_the_others_stay() -> None:
    runs = [
        Run("TRL defaults", 1, result(8.0)),
        Run("TRL tuned", 1, failure="MemoryError: no room"),
        Run("Tunery", 1, result(16.0)),
    ]
    text = shown(runs)
    assert row_of(text, "TRL tuned") == ["failed", *["–"] * 8]
    assert "- TRL tuned, run 1 failed: MemoryError: no room" in text.splitlines()
    assert row_of(text, "Tunery")[:3] == ["16", "20", "2.00"]


def test_a_run_that_failed_does_not_hide_those_that_did_not() -> None:
    runs = [Run("TRL defaults", 1, failure="killed"), Run("TRL defaults", 2, result(8.0))]
    text = shown(runs)
    assert row_of(text, "TRL defaults")[0] == "8"
    assert "- TRL defaults, run 1 failed: killed" in text.splitlines()


def test_without_reference_or_ceiling_there_is_neither_ratio_nor_share() -> None:
    runs = [Run("Tunery", 1, result(20.0)), Run("TRL defaults", 1, failure="killed")]
    assert row_of(shown(runs, ceiling_gflops=None), "Tunery")[:4] == ["20", "25", "–", "–"]


def test_of_a_runs_lists_only_the_losses_are_kept() -> None:
    written = kept(Run("Tunery", 1, result(20.0, losses=[1.23456, 1.0])))
    assert [name for name, value in written.items() if isinstance(value, list)] == ["losses"]
    assert written["losses"] == [1.2346, 1.0]


def test_makespans_are_compared_with_the_reference_and_a_failure_is_shown() -> None:
    runs = [
        Run("Tunery, one cohort", 1, jobs_result(100.0, jobs_run=16, validation_loss=1.9)),
        Run("TRL defaults", 1, jobs_result(400.0)),
        Run("TRL tuned", 1, failure="killed"),
    ]
    text = sixteen_jobs.table(sixteen_jobs.summarise(runs, tokens=20_000))
    assert row_of(text, "Tunery, one cohort") == ["16", "100", "200", "4.00", "3.0", "1.9000", "–"]
    assert row_of(text, "TRL defaults") == ["4", "400", "50", "1.00", "3.0", "2.0000", "-5.00%"]
    assert row_of(text, "TRL tuned")[1] == "failed"


def section(trainer: str) -> dict[str, Any]:
    """Return a section of a day's results, with one run of `trainer`."""
    run = Run(trainer, 1, result(20.0))
    machine = {
        "cpu": "A CPU",
        "threads": 2,
        "memory_bytes": 8e9,
        "isa": ["avx2"],
        "python": "3.11",
        "gpu": None,
    }
    return {
        "kind": "one job",
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "abc",
        "base_model": "a/b",
        "source": "generated",
        "rows": 2,
        "validation_rows": 16,
        "batch_size": 8,
        "rank": 2,
        "tokens": 8,
        "answer_tokens": 3,
        "validation_loss_before": 2.5,
        "machine": machine,
        "gflops_before": {"float32": 1.0},
        "gflops_after": {"float32": 3.0},
        "versions": {trainer: {"torch": "2.0"}},
        "median": [rounded(line) for line in summarise([run], OPERATIONS, 2.0)],
        "runs": [kept(run)],
        "not_run": {"unsloth": "not run: it needs a GPU"},
    }


def test_a_workload_that_is_run_again_replaces_its_part_of_the_days_page(tmp_path: Path) -> None:
    path = tmp_path / "2026-01-02.json"
    merge(path, "text2sql", section("First"))
    merge(path, "gsm8k", section("Second"))
    merge(path, "text2sql", section("Third"))
    text = path.with_suffix(".md").read_text()
    assert "| First" not in text
    assert text.index("## gsm8k") < text.index("| Second") < text.index("## text2sql") < text.index("| Third")
    assert "unsloth: not run: it needs a GPU" in text
    assert list(json.loads(path.read_text())) == ["gsm8k", "text2sql"]


def test_the_part_of_sixteen_jobs_says_how_many_each_trainer_ran(tmp_path: Path) -> None:
    files = [Files(tmp_path / "train.jsonl", tmp_path / "validation.jsonl")] * 16
    jobs = sixteen_jobs.Jobs(tmp_path, files, [Tokens([60, 40], [20, 10])] * 16, turns=4)
    runs = [
        Run("Tunery, one cohort", 1, jobs_result(100.0, jobs_run=16)),
        Run("TRL defaults", 1, failure="killed"),
    ]
    text = section_text(section("Any") | sixteen_jobs.section(jobs, "generated", 16, runs, 2.5))
    assert "16 jobs of 2 rows each (generated), 1,600 tokens in all, LoRA of ranks 4, 8, 16, 32" in text
    assert "the mean over the first 4 jobs" in text
    assert row_of(text, "Tunery, one cohort")[:3] == ["16", "100", "16"]
    assert "- TRL defaults, run 1 failed: killed" in text.splitlines()


def point(jobs: int, tokens_per_second: float) -> dict[str, Any]:
    return {
        "jobs": jobs,
        "batch_size": 4,
        "row_tokens": 60,
        "tokens_per_second": tokens_per_second,
        "tokens_per_second_per_job": tokens_per_second / jobs,
        "seconds_per_round": 0.5,
        "peak_rss_bytes": 2e9,
    }


def test_the_page_of_performance_follows_from_all_kinds_of_results() -> None:
    day = {"gsm8k": section("Tunery")}
    scaling = {
        **{name: day["gsm8k"][name] for name in ("date", "commit", "base_model", "machine")},
        "versions": {"torch": "2.0"},
        "settings": {"rank": 16, "max_step_tokens": 1024},
        "cohorts": [point(1, 100.0), point(4, 300.0)],
        "lengths": [],
    }
    at_scale = {
        **{
            "date": "2026-11-27",
            "commit": "abc",
            "cpu": "Any",
            "cores": 2,
            "memory_bytes": 2**34,
            "load": 1.0,
        },
        **{"postgres": "18", "rows": {"jobs": 9, "events": 9, "adapters": 9}, "database_bytes": 10**9},
        "figures": {name: {"median_ms": 50.0, "p99_ms": 120.0, "count": 9} for name in ("models", CLAIM)},
    }
    text = performance_page(day, scaling, at_scale=at_scale)
    assert row_of(text, "Tunery")[0] == "20"
    assert row_of(text, "4")[:3] == ["300", "75", "3.00"]
    assert "performance.svg" in text
    assert row_of(text, "models") == ["50.0", "120.0", "9", ""]
    assert row_of(text, CLAIM)[3] == "over"
    without = performance_page(day, {})
    assert "performance.svg" not in without
    assert "At a million jobs" not in without


def test_the_page_of_performance_has_the_figures_of_silent_streams() -> None:
    state = {"connections": 12, "p50_ms": 4.0, "p99_ms": 9.0}
    figures = {
        "kilobytes_each": 51.0,
        "cores_while_silent": 0.3,
        "ended_seconds": 2.0,
        "stopped_seconds": 2.5,
    }
    streams = {"streams": 10_000, "date": "2026-11-27", "before": state, "beside": state, **figures}
    text = performance_page({}, {}, of_streams=streams)
    assert "10,000 streams of events" in text
    assert "| memory of a stream, kB" in text
