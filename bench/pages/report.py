"""Computes figures from runs: the medians over a trainer's runs, and how trainers compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.pages.tables import failed_row, markdown, shown

REFERENCE = "TRL defaults"
OURS = "Tunery"
HEADINGS = (
    "trainer",
    "tokens/s",
    "computed/s",
    f"× {REFERENCE}",
    "of ceiling",
    "peak memory, GB",
    "first step cold, s",
    "warm, s",
    "validation loss",
    "ours to it",
)
KEPT = (
    *("rows", "batch_size", "rank", "real_tokens", "computed_tokens", "answer_tokens", "train_seconds"),
    *("tokens_per_second", "peak_bytes", "seconds_to_first_step", "warm_seconds_to_first_step"),
    *("seconds_to_adapter", "validation_loss", "settings"),
)


@dataclass(frozen=True)
class Run:
    """One run of one trainer: the contents of its result file, or why there is none."""

    trainer: str
    number: int
    """The round of the interleaved runs that it belongs to, from 1."""
    result: dict[str, Any] | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Line:
    """One trainer's medians over its successful runs. A figure is None if no run has it."""

    trainer: str
    runs: int
    """The number of runs that the medians are taken over."""
    tokens_per_second: float | None = None
    """The tokens in the rows, per second of the whole training run. Loading and saving do not count."""
    computed_per_second: float | None = None
    """Tokens that went through the base. Padding counts; shared tokens count each time they are computed."""
    ratio: float | None = None
    """Tokens per second, divided by the reference's tokens per second."""
    share: float | None = None
    """Share of the ceiling that the needed operations reach; None without a ceiling."""
    peak_gb: float | None = None
    """Most memory, 10^9 bytes: of a GPU, or the resident set."""
    seconds_to_first_step: float | None = None
    """From the start of the process to the end of its first step."""
    warm_seconds_to_first_step: float | None = None
    """The same for a second job on the base that is still loaded; None if every job loads its own base."""
    validation_loss: float | None = None
    """After training, on the rows held out, in nats per answer token."""
    ours_to_it: float | None = None
    """How far our validation loss lies above (+) or below (-) this one, as a share of it."""


def summarise(runs: list[Run], operations: float, ceiling_gflops: float | None) -> list[Line]:
    """Return a line for each trainer, in the order of their first runs.

    `operations` is the needed work of one run, `ceiling_gflops` the measured rate in 10^9 operations/s.
    """
    found = {run.trainer: results_of(runs, run.trainer) for run in runs}
    reference = median_of(found.get(REFERENCE, []), "tokens_per_second")
    ours = median_of(found.get(OURS, []), "validation_loss")
    return [
        line_of(trainer, results, reference, ours, operations, ceiling_gflops)
        for trainer, results in found.items()
    ]


def line_of(
    trainer: str,
    results: list[dict[str, Any]],
    reference: float | None,
    our_loss: float | None,
    operations: float,
    ceiling_gflops: float | None,
) -> Line:
    """Return the medians of the results, if there are any. `reference` is in tokens/s, `our_loss` in nats."""
    if not results:
        return Line(trainer, 0)
    rate = median(result["tokens_per_second"] for result in results)
    seconds = median(result["train_seconds"] for result in results)
    loss = median_of(results, "validation_loss")
    return Line(
        trainer,
        len(results),
        rate,
        median_of(results, "computed_tokens_per_second"),
        rate / reference if reference else None,
        share_of_ceiling(operations, seconds, ceiling_gflops) if ceiling_gflops else None,
        median(result["peak_bytes"] for result in results) / 1e9,
        median_of(results, "seconds_to_first_step"),
        median_of(results, "warm_seconds_to_first_step"),
        loss,
        relative_difference(our_loss, loss) if trainer != OURS else None,
    )


def results_of(runs: Sequence[Run], trainer: str) -> list[dict[str, Any]]:
    return [run.result for run in runs if run.trainer == trainer and run.result is not None]


def median_of(results: Sequence[dict[str, Any]], name: str) -> float | None:
    """Return the median of a figure over the results that have it, else None."""
    values = [result[name] for result in results if result.get(name) is not None]
    return median(values) if values else None


def relative_difference(ours: float | None, theirs: float | None) -> float | None:
    """Return how far our value is above (+) or below (-) theirs, as a share of theirs."""
    return ours / theirs - 1 if ours and theirs else None


def table(lines: Sequence[Line]) -> str:
    return markdown(HEADINGS, [cells_of(line) for line in lines])


def cells_of(line: Line) -> tuple[str, ...]:
    if line.tokens_per_second is None:
        return failed_row(line.trainer, len(HEADINGS))
    return (
        line.trainer,
        shown(line.tokens_per_second, ".0f"),
        shown(line.computed_per_second, ".0f"),
        shown(line.ratio, ".2f"),
        shown(line.share, ".0%"),
        shown(line.peak_gb, ".1f"),
        shown(line.seconds_to_first_step, ".1f"),
        shown(line.warm_seconds_to_first_step, ".1f"),
        shown(line.validation_loss, ".4f"),
        shown(line.ours_to_it, "+.2%"),
    )


def kept(run: Run) -> dict[str, Any]:
    """Return the part of a run that the results' file keeps. Its only list is the losses of the steps."""
    described: dict[str, Any] = {"trainer": run.trainer, "run": run.number}
    if run.result is None:
        return described | {"failure": run.failure}
    losses = [round(loss, 4) for loss in run.result["losses"]]
    return described | {name: run.result.get(name) for name in KEPT} | {"losses": losses}


def failures(runs: Sequence[dict[str, Any]]) -> str:
    """List the kept runs that failed, each with its reason. The text is empty if no run failed."""
    failed = [run for run in runs if run.get("failure")]
    lines = [f"- {run['trainer']}, run {run['run']} failed: {run['failure']}\n" for run in failed]
    return "\n" + "".join(lines) if lines else ""


def versions(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Return the versions of the packages that each trainer ran on."""
    return {run.trainer: run.result["versions"] for run in runs if run.result is not None}


def rounded(line: Any) -> dict[str, Any]:
    """Return the fields of a line for JSON, rounded to four decimals."""
    return {
        name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(line).items()
    }


def share_of_ceiling(operations: float, seconds: float, ceiling_gflops: float) -> float:
    """Return the share of the measured rate that a run reached; 1 is a run of matrix products alone."""
    return operations / seconds / (ceiling_gflops * 1e9)
