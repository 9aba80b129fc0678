"""Runs a job's longest step, its longest evaluation and one checkpoint before the first real step.

If the job does not fit, it fails now instead of hours later. What was measured is reported beside what the
model of the memory expects. Nothing of the job's result changes.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from core.jobs.measured import Preflight
from core.jobs.spec import JobSpec
from worker.engine.step.rehearsal import Rehearsed, longest_rows
from worker.trainer.candidates.candidates import Candidates
from worker.trainer.devices.process_group import ExpectedBytes, ProcessGroup
from worker.trainer.reading.reader import JobData
from worker.trainer.save.checkpoint import write_checkpoint

GB = 1e9


def is_wanted(spec: JobSpec, device_type: str) -> bool:
    """Return whether a job asks for a pre-flight on such a device, or takes it as a default."""
    return device_type != "cpu" if spec.training.preflight is None else spec.training.preflight


def run_preflight(
    process_group: ProcessGroup,
    spec: JobSpec,
    data: JobData,
    candidates: Candidates,
    folder: Path,
    abandon: Callable[[], bool],
) -> Preflight:
    """Return what was measured. `folder` is a place for the checkpoint, which is removed at once.

    Raises Abandoned. An error of the device, such as a want of memory, is raised as in a real step.
    """
    step = process_group.rehearse_step([trainee.name for trainee in candidates.trainees], abandon=abandon)
    expected = process_group.expected(spec, data.training_rows, step)
    evaluation: Rehearsed | None = None
    of_evaluation: ExpectedBytes | None = None
    if data.validation_rows and not spec.sampled_tokens:  # there an evaluation samples answers
        trainee = candidates.best.trainee
        rows = longest_rows(
            data.validation_rows, trainee.rows_per_example, process_group.memory_plan.step_tokens
        )
        evaluation = process_group.rehearse_evaluation(trainee.name, rows, abandon=abandon)
        of_evaluation = process_group.expected(spec, data.training_rows, evaluation)
    checkpoint_bytes, checkpoint_seconds = _write(candidates, folder)
    return Preflight(
        step_tokens=step.tokens,
        step_seconds=step.seconds,
        step_bytes=step.bytes,
        predicted_step_bytes=expected.step if expected else None,
        evaluation_tokens=evaluation.tokens if evaluation else 0,
        evaluation_seconds=evaluation.seconds if evaluation else 0.0,
        evaluation_bytes=evaluation.bytes if evaluation else 0,
        predicted_evaluation_bytes=of_evaluation.evaluation if of_evaluation else None,
        checkpoint_bytes=checkpoint_bytes,
        checkpoint_seconds=checkpoint_seconds,
    )


def told(found: Preflight) -> str:
    """Return a sentence for the client."""
    beside = f", {_gb(found.predicted_step_bytes)} expected" if found.predicted_step_bytes is not None else ""
    step = f"the longest step, of {found.step_tokens:,} tokens, took {_gb(found.step_bytes)}{beside}"
    evaluation = ""
    if found.evaluation_tokens:
        expected = found.predicted_evaluation_bytes
        beside = f", {_gb(expected)} expected" if expected is not None else ""
        evaluation = f"; an evaluation of the longest rows took {_gb(found.evaluation_bytes)}{beside}"
    return f"Pre-flight: {step}{evaluation}; a checkpoint has {_gb(found.checkpoint_bytes)}"


def _write(candidates: Candidates, folder: Path) -> tuple[int, float]:
    """Write a checkpoint and remove it. Return its bytes and the seconds that it took."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="preflight-", dir=folder) as scratch:
        write_checkpoint(candidates, Path(scratch), "")
        return _bytes_in(list(Path(scratch).rglob("*"))), round(time.monotonic() - began, 4)


def _bytes_in(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())


def _gb(count: int) -> str:
    return f"{count / GB:.2f} GB"
