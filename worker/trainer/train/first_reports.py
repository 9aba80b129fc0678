"""What a job reports before its first step: how far the load is, its memory plan, and what it takes."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from core.jobs import token_counts
from core.jobs.lifecycle import loading_phase
from core.jobs.measured import note
from core.jobs.spec import JobSpec
from worker.engine.step.passes import Abandoned
from worker.engine.step.rehearsal import computed_share
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.report.job_lease import JobLease
from worker.trainer.train.preflight import is_wanted, run_preflight, told
from worker.trainer.train.stages import Training

EVENT_SECONDS = 30.0  # between two events of a long load


class LoadReport:
    """Reports how much of a job's base model has been read: as its phase, and as events if it takes long."""

    def __init__(self, job_lease: JobLease, event_seconds: float = EVENT_SECONDS) -> None:
        self._job_lease, self._event_seconds = job_lease, event_seconds
        self._event_at = time.monotonic()

    def __call__(self, read: int, of: int) -> None:
        """Take in that so many bytes have been read, and of how many."""
        phase = loading_phase(read, of)
        self._job_lease.enter(phase)
        if time.monotonic() - self._event_at >= self._event_seconds:
            self._event_at = time.monotonic()
            data = {"code": "model_loading", "read_bytes": read, "bytes": of}
            self._job_lease.event(phase[0].upper() + phase[1:], data=data)


def report_what_it_takes(
    process_group: ProcessGroup,
    job_lease: JobLease,
    spec: JobSpec,
    training: Training,
    folder: Path,
    abandon: Callable[[], bool],
) -> None:
    """Report the memory plan with which a job fits the device, and what it takes if a pre-flight is wanted.

    The plan is reported once, and again if a resume finds another. How much of the file's tokens is
    computed is kept, so that estimates for the same file know it. A step that does not fit raises its error
    here. `folder` is a place for the checkpoint of a pre-flight, which `abandon` ends early.
    """
    planned = process_group.planned
    if planned is not None:
        job_lease.event(str(planned), once_as=f"measures {asdict(planned.memory_plan)}", data=planned.data)
    base, data, candidates = training.base, training.data, training.candidates
    if not spec.sampled_tokens:  # the rows are not known before
        share = computed_share(candidates.best.trainee, process_group.memory_plan.step_tokens)
        of = (
            data.training_file.id,
            token_counts.tokenizer_of(base.entry),
            token_counts.rendering_of(spec.objective.type),
        )
        job_lease.write(lambda session: token_counts.keep_share(session, *of, share))
    if candidates.step > 0 or not is_wanted(spec, base.device.type):
        return
    job_lease.enter("pre-flight")
    try:
        found = run_preflight(process_group, spec, data, candidates, folder, abandon)
    except Abandoned:
        return
    measured = found.model_dump(mode="json")
    job_lease.event(told(found), once_as="preflight", data={"code": "preflight", **measured})
    job_lease.commit(lambda session: note(session, job_lease.lease.job_id, preflight=measured))
