"""Compares what jobs took with their estimates: memory, tokens, and the time of the long ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.job_estimates.work import START_SECONDS
from bench.estimates.cases import CASES, LONG, Case
from bench.estimates.measured import Found, expected
from core.estimates.runtime import LIBRARY_BYTES
from core.jobs.evaluation_schedule import Schedule
from worker.trainer.report.remaining_time import STEPS, RemainingTime

GB = 1e9
PAST_JOBS = 5
Job = tuple[Case, Found]
QUIET = 1.5  # programs that want a core, at most: two lanes were never slowed down, on two cores


@dataclass(frozen=True)
class Comparison:
    """A job's bytes and tokens, estimated and measured. The ratio leaves the libraries out."""

    case: Case
    found: Found
    bytes: int
    tokens: int

    @property
    def ratio(self) -> float:
        return (self.bytes - LIBRARY_BYTES["cpu"]) / (self.found.training_bytes - LIBRARY_BYTES["cpu"])

    @property
    def of_process(self) -> float:
        return self.bytes / self.found.training_bytes


@dataclass(frozen=True)
class Times:
    """Seconds of a job's steps, estimated and measured."""

    case: Case
    load: float
    by_rule: float
    before: float
    measured: float
    left: float
    measured_left: float


def page(known: Mapping[str, Any], folder: Path, models: Path) -> Iterator[str]:
    """Yield the lines of a page with all results."""
    yield "# Estimates of jobs and what they took\n\nMade by `python -m bench.estimates`.\n"
    yield from _memory(
        [
            _compared(case, found, folder / case.base.folder, models)
            for case, found in (*_known(CASES, known), *_known(LONG, known))
        ]
    )
    timed = _known(LONG, known)
    yield from _times([_times_of(case, found, timed, folder, models) for case, found in timed])


def _known(cases: Sequence[Case], known: Mapping[str, Any]) -> list[Job]:
    return [(case, Found(**known[str(case)])) for case in cases if str(case) in known]


def _compared(case: Case, found: Found, folder: Path, models: Path) -> Comparison:
    estimated = expected(case, folder, models)
    (device,) = estimated.devices
    assert device.memory is not None
    bytes_ = device.memory.peak_bytes + device.memory.runtime_bytes
    return Comparison(case, found, bytes_, estimated.tokens.count)


def _memory(rows: Sequence[Comparison]) -> Iterator[str]:
    yield "| job | estimated | process | ratio | without libraries |"
    yield "| --- | --- | --- | --- | --- |"
    for row in rows:
        sizes = f"{row.bytes / GB:.2f} GB | {row.found.training_bytes / GB:.2f} GB"
        yield f"| {row.case} | {sizes} | {row.of_process:.3f} | {row.ratio:.3f} |"
    within = sum(abs(row.ratio - 1) <= 0.1 for row in rows)
    under = sum(row.ratio < 0.95 for row in rows)
    exact = sum(row.tokens == row.found.tokens for row in rows)
    yield (
        f"\nWithout libraries {within} of {len(rows)} are within 10 %, and {under} under by more than 5 %. "
        f"Tokens are exact in {exact}.\n"
    )


def _times_of(case: Case, found: Found, timed: Sequence[Job], folder: Path, models: Path) -> Times:
    """Return a job's times. On a busy machine they are those of a core, which counts no other programs."""
    seconds, own = _seconds(found), folder / case.base.folder
    others = [
        _operations(each, own, models) / sum(_seconds(of_each))
        for each, of_each in timed
        if each is not case and each.base_in_precision == case.base_in_precision
    ]
    remaining = RemainingTime()
    for step in seconds[:STEPS]:
        remaining.note_step(step, 1)
    left = remaining.left(Schedule(case.steps, case.steps_per_epoch, case.steps, False, 0, 0), STEPS)
    assert left is not None
    return Times(
        case=case,
        load=found.load,
        by_rule=_expected_seconds(case, own, models, ()),
        before=_expected_seconds(case, own, models, others[:PAST_JOBS]),
        measured=sum(seconds),
        left=left,
        measured_left=sum(seconds[STEPS:]),
    )


def _seconds(found: Found) -> list[float]:
    return found.seconds if found.load <= QUIET else found.core_seconds


def _operations(case: Case, folder: Path, models: Path) -> float:
    operations = expected(case, folder, models).operations
    assert operations is not None
    return operations.training


def _expected_seconds(case: Case, folder: Path, models: Path, rates: Sequence[float]) -> float:
    """Return what the estimate says of the steps alone: nothing is started or evaluated here."""
    (device,) = expected(case, folder, models, rates, evaluates=False).devices
    assert device.seconds is not None
    return device.seconds.expected - START_SECONDS[1]


def _times(rows: Sequence[Times]) -> Iterator[str]:
    yield "| job | load | measured | by rule | by past jobs | ratio | last steps | by the first 50 | ratio |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        before, after = row.before / row.measured, row.left / row.measured_left
        yield (
            f"| {row.case} | {row.load} | {row.measured:.1f} s | {row.by_rule:.1f} s | {row.before:.1f} s | "
            f"{before:.2f} | {row.measured_left:.1f} s | {row.left:.1f} s | {after:.2f} |"
        )
    early = sum(abs(row.before / row.measured - 1) <= 0.4 for row in rows)
    late = sum(abs(row.left / row.measured_left - 1) <= 0.2 for row in rows)
    yield f"\n{early} of {len(rows)} are within 40 % before, and {late} within 20 % after the first 50 steps."
