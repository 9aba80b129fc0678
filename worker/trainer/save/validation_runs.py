"""The validations of a job with reinforcement, as runs of its eval, shipped beside the training.

A run exists once its task has been committed. The commit is fenced and comes after the upload.
"""

import shutil
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import artifacts
from core.access.quotas import Quotas, check_store
from core.artifacts import Owner
from core.errors import JobError, LeaseLost, NotFound, QuotaExceeded
from core.evals.criteria import CRITERION
from core.evals.data_sources import CompletionsDataSource, FileSource, RunSamplingParams
from core.evals.evals import held_eval
from core.evals.results import Record
from core.evals.run_request import RunRequest
from core.evals.validations import eval_of
from core.graders.check import judges_of
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.lineage import lineage_of
from core.jobs.spec import JobSpec
from core.objectives.reinforcement import Reinforcement
from core.process.failpoints import reached
from core.settings import Settings
from core.storage.folders import publish_folder
from core.storage.object_store import ObjectStore, task_prefix
from core.tables import Job, Project, Task
from core.work.client import record
from core.work.kinds import EVAL_RUN
from worker.process.faults import outside_fault
from worker.tasks.evaluation.record_files import RecordFiles
from worker.trainer.report.job_lease import JobLease
from worker.trainer.save.shipping import Shipping

STEP = "step"
"""The name in a run's metadata under which it has the step of its validation"""

log = structlog.get_logger()


class ValidationRuns:
    """Stores the validations of one job. No fault of the store, the database or the quota ends the job."""

    def __init__(
        self,
        job_lease: JobLease,
        store: ObjectStore,
        folder: Path,
        spec: JobSpec,
        shipping: Shipping,
        settings: Settings,
    ) -> None:
        """Files are kept below `folder` until they are shipped."""
        assert isinstance(spec.objective, Reinforcement)
        self._job_lease, self._store, self._folder = job_lease, store, folder
        self._objective, self._spec = spec.objective, spec
        self._shipping, self._settings = shipping, settings
        self._criterion = CRITERION.validate_python(spec.objective.grader.model_dump())
        self._eval_is_gone = False

    def send(self, step: int, records: Iterable[Record], count: int) -> None:
        """Write the records of a validation to the disk, and have them shipped. The job may train on at once.

        There are `count` records. More than a run may have are left out.
        """
        if self._eval_is_gone:
            return
        folder, samples = Path(mkdtemp(prefix=f"run-{step}-", dir=self._folder)), self._objective.eval_samples
        most = self._settings.max_eval_rows // samples * samples
        files = RecordFiles(folder, min(count, most), [self._criterion], samples)
        try:
            for one in islice(records, most):
                files.add(one)
        except JobError as error:  # a row that no record can hold; the grader may not mind
            self._warn(step, error.message)
        else:
            self._shipping.send(partial(self._ship, step, folder, files))

    def _ship(self, step: int, folder: Path, files: RecordFiles) -> None:
        try:
            self._store_run(step, folder, files)
        except LeaseLost:
            raise
        except NotFound:
            self._eval_is_gone = True
            message = "The job's eval was deleted. Validations are no runs of it any more; training goes on"
            self._job_lease.event(message, "eval_deleted", level="warn", data={"code": "eval_deleted"})
        except Exception as error:  # libraries of servers and disks raise errors of many classes
            reason = error.message if isinstance(error, QuotaExceeded) else outside_fault(error)
            if reason is None:
                raise
            log.warning("validation_not_stored", job=self._job_lease.lease.job_id, exc_info=error)
            self._warn(step, reason)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _warn(self, step: int, reason: str) -> None:
        message = f"The validation of step {step} is no run of the job's eval: {reason.rstrip('.')}"
        data = {"code": "validation_not_stored", "step": step}
        once_as = f"validation {step} not stored"
        self._job_lease.event(f"{message}. Training goes on", once_as, level="warn", data=data)

    def _store_run(self, step: int, folder: Path, files: RecordFiles) -> None:
        """Upload the files and commit the run, unless the step has one. Raises NotFound without the eval."""
        run_id, report = new_id(f"{EVAL_RUN.name}-"), files.report()
        prefix = task_prefix(EVAL_RUN.name, run_id, self._job_lease.lease.attempt)
        size = sum(path.stat().st_size for path in folder.iterdir())
        if not self._job_lease.commit(lambda session: self._open(session, step, prefix, size)):
            return
        stored = publish_folder(self._store, folder, prefix)
        reached("validation.uploaded")

        def commit(session: Session) -> None:
            if eval_id := self._without_run(session, step):
                job = session.get_one(Job, self._job_lease.lease.job_id)
                request = self._request(session, job, step)
                to = run_id, job.project_id, EVAL_RUN, request, report, prefix, stored
                record(session, *to, eval_id=eval_id)

        self._job_lease.commit(commit)
        reached("validation.recorded")

    def _open(self, session: Session, step: int, prefix: str, size: int) -> bool:
        """Open the artifact of a run, and return True; False if the step has a run.

        Raises QuotaExceeded and NotFound. Until the run exists, the artifact is the job's and ends with it.
        """
        if self._without_run(session, step) is None:
            return False
        job = session.get_one(Job, self._job_lease.lease.job_id)
        artifacts.open(session, Owner("job", job.id), prefix, job.project_id)
        quotas = Quotas.of(session.get_one(Project, job.project_id), self._settings)
        check_store(session, job.project_id, quotas.stored_bytes, size, what=f"its run of {size:,} bytes")
        return True

    def _without_run(self, session: Session, step: int) -> str | None:
        """Return the id of the eval, locked, if it has no run of a step. Raises NotFound without the eval.

        A step that is made again has the same answers, so its first run stays. A run that a client has
        deleted does not come back.
        """
        eval_id = eval_of(session.get_one(Job, self._job_lease.lease.job_id))
        assert eval_id is not None
        held_eval(session, eval_id)
        of_step = Task.request["metadata"][STEP].astext == str(step)
        is_made = session.scalar(select(Task.id).where(Task.eval_id == eval_id, of_step).limit(1))
        return None if is_made else eval_id

    def _request(self, session: Session, job: Job, step: int) -> RunRequest:
        """Return what a client would have asked for, to get this validation."""
        model = _model_after(session, job, step)
        assert job.validation_file_id is not None
        objective = self._objective
        sampling = RunSamplingParams(
            max_completion_tokens=objective.max_completion_tokens,
            n=objective.eval_samples,
            response_format=objective.response_format,
            seed=self._spec.seed,
            temperature=1.0,
        )
        source = FileSource(type="file_id", id=job.validation_file_id)
        return RunRequest(
            name=f"Step {step}",
            metadata={STEP: str(step)},
            data_source=CompletionsDataSource(
                type="completions", source=source, model=model, sampling_params=sampling
            ),
            model=model,
            grader_models=judges_of([objective.grader], self._spec.grader_models),
        )


def _model_after(session: Session, job: Job, step: int) -> str:
    """Return the name of a job's model after a step: before the first one, of what the job begins with."""
    if step:
        return f"{lifecycle.fine_tuned_model_name(session, job)}:ckpt-step-{step}"
    lineage = lineage_of(job.spec)
    return str(lineage[0]["model"]) if lineage else job.base_model
