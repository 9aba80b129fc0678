"""From the runs of one workload to the table that is read and the JSON that is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from counting import share_of_ceiling

REFERENCE = "TRL defaults"
HEADINGS = (
    "trainer",
    "tokens/s",
    f"× {REFERENCE}",
    "of ceiling",
    "peak memory, GB",
    "s to first step",
    "first loss",
    "last loss",
)
NOTHING = "–"
KEPT = (
    *("rows", "batch_size", "real_tokens", "answer_tokens", "train_seconds", "tokens_per_second"),
    *("peak_rss_bytes", "seconds_to_first_step", "settings"),
)


@dataclass(frozen=True)
class Run:
    """One trainer, once: its result file's contents, or why there is none."""

    trainer: str
    number: int
    """Which round of the interleaved runs, from 1."""
    result: dict[str, Any] | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Line:
    """One trainer's medians over its runs that ended well; None where there are none."""

    trainer: str
    runs: int
    """Runs that the medians are of."""
    tokens_per_second: float | None = None
    """Real tokens, no padding, over the whole training run without loading and saving."""
    ratio: float | None = None
    """To the reference's tokens per second."""
    share: float | None = None
    """Of the ceiling, 0 to 1; None without a ceiling."""
    peak_gb: float | None = None
    """Largest resident set, 10^9 bytes."""
    seconds_to_first_step: float | None = None
    """From the start of the process."""
    first_loss: float | None = None
    """Mean over the step's answer tokens, nats."""
    last_loss: float | None = None


def summarise(runs: list[Run], operations: float, ceiling_gflops: float | None) -> list[Line]:
    """A line for each trainer in the order of its first run.

    `operations` is the needed work of one run; `ceiling_gflops` the measured rate in 10^9 operations/s.
    """
    results: dict[str, list[dict[str, Any]]] = {run.trainer: [] for run in runs}
    for run in runs:
        if run.result is not None:
            results[run.trainer].append(run.result)
    rates = [result["tokens_per_second"] for result in results.get(REFERENCE, [])]
    reference = median(rates) if rates else None
    return [
        line_of(trainer, found, reference, operations, ceiling_gflops) if found else Line(trainer, 0)
        for trainer, found in results.items()
    ]


def line_of(
    trainer: str,
    results: list[dict[str, Any]],
    reference: float | None,
    operations: float,
    ceiling_gflops: float | None,
) -> Line:
    """Medians of at least one result. `reference` is in tokens/s."""
    rate = median(result["tokens_per_second"] for result in results)
    seconds = median(result["train_seconds"] for result in results)
    return Line(
        trainer,
        len(results),
        rate,
        rate / reference if reference else None,
        share_of_ceiling(operations, seconds, ceiling_gflops) if ceiling_gflops else None,
        median(result["peak_rss_bytes"] for result in results) / 1e9,
        median(result["seconds_to_first_step"] for result in results),
        median(result["losses"][0] for result in results),
        median(result["losses"][-1] for result in results),
    )


def table(lines: list[Line], runs: list[Run]) -> str:
    """Markdown, aligned for a terminal too; below it every run that failed, with its reason."""
    cells = [HEADINGS, *(cells_of(line) for line in lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    dashes = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    text = "\n".join(
        [padded(cells[0], widths), padded(dashes, widths), *(padded(row, widths) for row in cells[1:])]
    )
    failures = [f"- {run.trainer}, run {run.number} failed: {run.failure}" for run in runs if run.failure]
    return text + "\n" + "".join(f"\n{failure}" for failure in failures) + ("\n" if failures else "")


def cells_of(line: Line) -> tuple[str, ...]:
    if line.tokens_per_second is None:
        return (line.trainer, "failed", *[NOTHING] * (len(HEADINGS) - 2))
    return (
        line.trainer,
        shown(line.tokens_per_second, ".0f"),
        shown(line.ratio, ".2f"),
        shown(line.share, ".0%"),
        shown(line.peak_gb, ".1f"),
        shown(line.seconds_to_first_step, ".1f"),
        shown(line.first_loss, ".3f"),
        shown(line.last_loss, ".3f"),
    )


def shown(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)


def padded(cells: tuple[str, ...] | list[str], widths: list[int]) -> str:
    """The first column to the left, numbers to the right."""
    first, *others = cells
    numbers = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    return "| " + " | ".join([first.ljust(widths[0]), *numbers]) + " |"


def kept(run: Run) -> dict[str, Any]:
    """What of a run goes to the results' file: no lists but the losses."""
    described: dict[str, Any] = {"trainer": run.trainer, "run": run.number}
    if run.result is None:
        return described | {"failure": run.failure}
    losses = [round(loss, 4) for loss in run.result["losses"]]
    return described | {name: run.result[name] for name in KEPT} | {"losses": losses}


def versions(runs: list[Run]) -> dict[str, dict[str, str]]:
    """The packages that each trainer was measured with."""
    return {run.trainer: run.result["versions"] for run in runs if run.result is not None}


def rounded(line: Line) -> dict[str, Any]:
    """The line for JSON, in four decimals."""
    return {
        name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(line).items()
    }
